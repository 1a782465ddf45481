// @ts-check
// Attack 10: many clients watch one request and read nothing.
import { attacked, atMost } from './lib/attack.mjs'
import { FAST } from './lib/gateway.mjs'
import { generate, tally } from './lib/http.mjs'
import { PEAK_MIB } from './lib/limits.mjs'
import { peakMib, waitFor } from './lib/proc.mjs'
import { head, leaveAll, RawClient } from './lib/raw.mjs'
import { memoryBack } from './unread.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */

const ID = 'the-watched-one'
/** Long enough for all watchers to connect before it ends: two seconds of previews, then two images. */
const WATCHED = {
  prompt: 'a lighthouse',
  num_inference_steps: 40,
  width: 1024,
  height: 1024,
  num_images: 2,
  preview_interval: 1
}
const FAKE = FAST.replace('--fake-step-ms 0', '--fake-step-ms 50')
const PATIENCE_MS = 60_000

/** @param {{ short?: boolean }} [options] */
export async function watcherAttacks({ short = false } = {}) {
  const outcomes = []
  for (const count of short ? [200] : [200, 500]) {
    outcomes.push(
      await attacked(`${count} unread watchers`, { fake: FAKE }, async ({ gateway, restMib }) => {
        // The requesting client reads, so it must get its answer however many others watch.
        const answer = generate(gateway.url, WATCHED, {
          headers: { 'x-request-id': ID, accept: 'application/json' },
          most: PATIENCE_MS
        })
        const watchers = await openWatchers(gateway.port, ID, count)
        const { status, body } = await answer
        const statuses = watchers.map((watcher) => watcher.status)
        const memory = atMost(`${count} unread watchers of one request`, {
          found: peakMib(gateway.pid),
          limit: PEAK_MIB,
          unit: 'MiB RSS',
          note: tally(statuses)
        })
        /** @type {Row[]} */
        const rows = [
          // Refusing all of them would pass too easily.
          { ...memory, held: memory.held && statuses.includes(200) },
          {
            attack: `${count} unread watchers: the requesting client`,
            limit: '200',
            found: String(status || body),
            held: status === 200
          }
        ]
        await leaveAll(watchers)
        return [...rows, await memoryBack(gateway, restMib, `${count} unread watchers`)]
      })
    )
  }
  return outcomes
}

/**
 * Opens connections that watch a request and read only the beginning; resolves when each has it, or none arrives.
 *
 * @param {number} port
 * @param {string} id
 * @param {number} count
 */
export async function openWatchers(port, id, count) {
  const watchers = Array.from({ length: count }, () => new RawClient(port))
  await Promise.all(
    watchers.map((watcher) => watcher.write(head(`/requests/${id}/events`, { accept: 'text/event-stream' }, 'GET')))
  )
  void Promise.all(watchers.map((watcher) => watcher.readStart(PATIENCE_MS)))
  await waitFor(() => watchers.every(({ status, isClosed }) => status !== 0 || isClosed), PATIENCE_MS / 6)
  return watchers
}
