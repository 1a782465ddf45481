import type { Hello } from '../../src/workers/protocol.js'
import type { ScriptedWorker } from './scripted-worker.js'
import type { RunningServer } from './server.js'
import { until } from './wait.js'

/**
 * Has a worker come as a new process, and waits until both sides know of it.
 *
 * That the worker was welcomed is not enough: on a busy machine the answer to an earlier HELLO may come only now, and what the
 * gateway does next it does for the worker as it was before.
 */
export async function reconnect(
  server: RunningServer,
  name: string,
  worker: ScriptedWorker,
  changes: Partial<Hello> = {}
): Promise<void> {
  const session = () => server.pool.state.workers.find((connected) => connected.name === name)?.session
  const before = session()
  await worker.hello(changes)
  await until(
    `the gateway and ${name} know of each other`,
    () => worker.session !== undefined && worker.session === session() && session() !== before
  )
}
