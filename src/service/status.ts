import type { WorkerPool } from '../workers/worker-pool.js'

export interface ServiceStatus {
  readonly status: 'ready' | 'starting' | 'unavailable' | 'draining'
  /** Why the service cannot serve although workers are connected, in one line. */
  readonly problem: string | null
  /** Requests waiting for a worker. */
  readonly queued: number
  readonly workers: {
    readonly expected: number
    readonly ready: number
    readonly list: {
      name: string
      pid: number
      devices: string[]
      rows: number
      rows_in_use: number
      steps_total: number
      silent_seconds: number
    }[]
  }
}

export function statusOf(pool: WorkerPool): ServiceStatus {
  const { workers, workersExpected, queued } = pool.state
  const list = workers.map(({ name, hello, heartbeat, heardAt }) => ({
    name,
    pid: hello.pid,
    devices: hello.devices.map(({ kind }) => kind),
    rows: hello.rows,
    rows_in_use: heartbeat?.rows_in_use ?? 0,
    steps_total: heartbeat?.steps_total ?? 0,
    silent_seconds: Math.round((performance.now() - heardAt) / 100) / 10
  }))
  return {
    status: wordFor(pool),
    problem: pool.problem ?? null,
    queued,
    workers: { expected: workersExpected, ready: workers.length, list }
  }
}

function wordFor({ draining, ready, capabilities }: WorkerPool): ServiceStatus['status'] {
  if (draining) return 'draining'
  if (ready) return 'ready'
  return capabilities === undefined ? 'starting' : 'unavailable'
}
