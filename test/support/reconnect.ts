import type { Hello } from '../../src/workers/protocol.js'
import type { ScriptedWorker } from './scripted-worker.js'
import type { RunningServer } from './server.js'
import { until } from './wait.js'

/**
 * Reconnects a worker as a new process, and waits until both sides have registered it.
 *
 * A WELCOME is not enough: on a busy machine it may be the late answer to an earlier HELLO, and the gateway still acts on the
 * earlier session.
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
    `${name} and the gateway use the new session`,
    () => worker.session !== undefined && worker.session === session() && session() !== before
  )
}
