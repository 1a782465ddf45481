// @ts-check
import { WebSocket } from 'undici'
import { waitFor } from './proc.mjs'

/** Node options that `stall` needs. */
export const STALLABLE = ['--inspect=127.0.0.1:0']

/**
 * Blocks a gateway's event loop, like a long garbage collection, while its other threads (such as ZeroMQ's) continue.
 * Settles when the event loop is free again.
 *
 * @param {import('./gateway.mjs').Gateway} gateway started with the options `STALLABLE`
 * @param {number} ms
 */
export async function stall(gateway, ms) {
  const address = () => /ws:\/\/\S+/.exec(gateway.errors?.text ?? '')?.[0]
  await waitFor(() => address() !== undefined, 5000)
  const inspector = new WebSocket(address() ?? '')
  await new Promise((resolve, reject) => {
    inspector.addEventListener('error', reject)
    inspector.addEventListener('message', resolve)
    const expression = `Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${ms})`
    inspector.addEventListener('open', () =>
      inspector.send(JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } }))
    )
  })
  inspector.close()
}
