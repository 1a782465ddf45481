import type { UsageResponse } from '../../src/schemas/usage.js'
import { HANDOVERS } from '../../src/workers/saved-states.js'
import { metric, type RunningServer } from './server.js'
import { until } from './wait.js'

/** Steps that a worker has done, as its last heartbeat says. */
export const stepsOf = (server: RunningServer, name: string): number =>
  server.pool.state.workers.find((worker) => worker.name === name)?.heartbeat?.steps_total ?? 0

/** Waits until a worker has done something, and all of it. */
export const idleWorker = (server: RunningServer, name: string): Promise<void> =>
  until(`${name} is idle`, () => {
    const worker = server.pool.state.workers.find((each) => each.name === name)
    return worker?.heartbeat?.rows_in_use === 0 && worker.heartbeat.steps_total > 0
  })

/** How each state has ended. */
export async function outcomes(server: RunningServer): Promise<Record<string, number>> {
  const counts = await Promise.all(
    HANDOVERS.map(async (how) => [how, await metric(server, 'easel_handovers_total', `outcome="${how}"`)] as const)
  )
  return Object.fromEntries(counts.filter(([, count]) => count > 0))
}

/** Chip-seconds of the first model by kind. */
export async function lines(server: RunningServer): Promise<Record<string, number>> {
  const { models } = (await (await fetch(`${server.url}/usage`)).json()) as UsageResponse
  return Object.fromEntries(models[0]!.lines.map(({ kind, chip_seconds: seconds }) => [kind, seconds]))
}
