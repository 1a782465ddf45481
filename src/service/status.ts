import type { ServedModel } from '../workers/served-model.js'
import type { WorkerPool } from '../workers/worker-pool.js'
import type { Model } from './models.js'

/** `holding`: no worker is connected, and requests wait for one. */
type Word = 'ready' | 'holding' | 'starting' | 'unavailable' | 'draining'

export interface ModelStatus {
  readonly status: Word
  /** Why it cannot be served although workers are connected, in one line. */
  readonly problem: string | null
  readonly requests: { readonly in_flight: number; readonly queued: number }
  readonly workers: { readonly ready: number }
  /** False while another model has the device that both share. */
  readonly loaded: boolean
  /** Seconds that loading it took the last time; null if it shares no device. */
  readonly swap_seconds: number | null
}

export interface ServiceStatus {
  readonly status: Word
  /** Why the service cannot serve although workers are connected, in one line. */
  readonly problem: string | null
  /** Requests waiting for a worker. */
  readonly queued: number
  readonly workers: {
    readonly expected: number
    readonly ready: number
    readonly list: {
      name: string
      model: string
      outdated: boolean
      pid: number
      devices: string[]
      rows: number
      rows_in_use: number
      steps_total: number
      silent_seconds: number
    }[]
  }
}

export function statusOfModel({ served, ledger }: Model, draining: boolean, holds: boolean): ModelStatus {
  const current = served.workers.filter((worker) => served.isCurrent(worker))
  return {
    status: draining ? 'draining' : wordFor([served], holds),
    problem: served.problem ?? null,
    requests: { in_flight: ledger.inFlight, queued: served.queued },
    workers: { ready: current.length },
    loaded: served.loaded,
    swap_seconds: served.swapSeconds ?? null
  }
}

export function statusOf(pool: WorkerPool, holds: boolean): ServiceStatus {
  const { workers, workersExpected, queued } = pool.state
  return {
    status: pool.draining ? 'draining' : wordFor(pool.models, holds),
    problem: problemOf(pool.models),
    queued,
    workers: { expected: workersExpected, ready: workers.length, list: pool.models.flatMap(workersOf) }
  }
}

/** Models that are not ready do not make the service unavailable while another is. */
function wordFor(models: readonly ServedModel[], holds: boolean): Word {
  if (models.some(({ ready }) => ready)) return 'ready'
  if (holds && models.some(({ problem }) => problem === undefined)) return 'holding'
  return models.every(({ capabilities }) => capabilities === undefined) ? 'starting' : 'unavailable'
}

function problemOf(models: readonly ServedModel[]): string | null {
  const found = models.find(({ problem }) => problem !== undefined)
  if (found === undefined) return null
  return models.length === 1 ? found.problem! : `${found.name}: ${found.problem}`
}

function workersOf(model: ServedModel): ServiceStatus['workers']['list'] {
  return model.workers.map((worker) => {
    const { name, hello, heartbeat, heardAt } = worker
    return {
      name,
      model: hello.model.id,
      outdated: !model.isCurrent(worker),
      pid: hello.pid,
      devices: hello.devices.map(({ kind }) => kind),
      rows: hello.rows,
      rows_in_use: heartbeat?.rows_in_use ?? 0,
      steps_total: heartbeat?.steps_total ?? 0,
      silent_seconds: Math.round((performance.now() - heardAt) / 100) / 10
    }
  })
}
