// @ts-check
// Attack 3: clients that send much data slowly and never finish.
import { amount, attacked, atMost } from './lib/attack.mjs'
import { pngStart } from './lib/files.mjs'
import { generate, SMALL, tally } from './lib/http.mjs'
import { PEAK_MIB, RECEIVE_TIMEOUT_S, SLACK_S } from './lib/limits.mjs'
import { peakMib, waitFor } from './lib/proc.mjs'
import { head, leaveAll, RawClient } from './lib/raw.mjs'
import { memoryBack } from './unread.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {{ what: string, count: number, path: string, type: string, starts: readonly Buffer[], bytes: number, withheld: number }} Uploads starts: the uploads' first bytes, in rotation; bytes: the announced length of each */

const MB = 1e6
const FILES = {
  what: 'uploads of 60 MB to /recipe, the last MB withheld',
  path: '/recipe',
  type: 'image/png',
  starts: [pngStart('IDAT', 60 * MB), pngStart('iTXt', 60 * MB)],
  bytes: 60 * MB,
  withheld: MB
}
/** JSON bodies of the largest size that an operator can allow. */
const BODY_LIMIT = 2 ** 20
const BODIES = {
  what: 'bodies of 1 MiB to /generate, the last byte withheld',
  path: '/generate',
  type: 'application/json',
  starts: [Buffer.from('{')],
  bytes: BODY_LIMIT,
  withheld: 1
}
/** How long clients may take to send their data, in ms. */
const SENDING_MS = 20_000

/** @param {{ short?: boolean }} [options] */
export async function uploadAttacks({ short = false } = {}) {
  const outcomes = [await attacked('slow uploads of files', {}, (under) => slow(under, { ...FILES, count: 16 }))]
  if (!short)
    outcomes.push(
      await attacked('slow uploads of bodies', { env: { BODY_LIMIT: String(BODY_LIMIT) } }, (under) =>
        slow(under, { ...BODIES, count: 500 })
      )
    )
  return outcomes
}

/**
 * Opens connections and sends each request without the withheld rest; resolves when it is sent or refused.
 *
 * @param {number} port
 * @param {Uploads} uploads
 */
export async function openUploads(port, { count, path, type, starts, bytes, withheld }) {
  const clients = Array.from({ length: count }, () => new RawClient(port, { reads: true }))
  const sent = clients.map(async (client, index) => {
    const start = /** @type {Buffer} */ (starts[index % starts.length])
    await client.write(head(path, { 'content-type': type, 'content-length': bytes }))
    await client.write(start)
    await client.fill(bytes - start.length - withheld)
  })
  // Stop sending when the answer arrives or the connection closes.
  await Promise.race([
    Promise.all(sent),
    waitFor(() => clients.every(({ status, isClosed }) => status !== 0 || isClosed), SENDING_MS)
  ])
  return clients
}

/** File uploads, which the attack `everything` also uses. */
export const files = FILES

/**
 * @param {import('./lib/attack.mjs').Under} under
 * @param {Uploads} uploads
 * @returns {Promise<Row[]>}
 */
async function slow({ gateway, restMib }, uploads) {
  const start = performance.now()
  const clients = await openUploads(gateway.port, uploads)
  const ordinary = await generate(gateway.url, SMALL, { most: SENDING_MS })
  const limit = RECEIVE_TIMEOUT_S + SLACK_S
  await waitFor(() => clients.every(({ isClosed }) => isClosed), limit * 1000)
  const open = clients.filter(({ isClosed }) => !isClosed).length
  const last = Math.max(...clients.map(({ closedAt = performance.now() }) => closedAt - start)) / 1000
  const rows = [
    atMost(`${uploads.count} ${uploads.what}`, {
      found: peakMib(gateway.pid),
      limit: PEAK_MIB,
      unit: 'MiB RSS',
      note: tally(clients.map(({ status }) => status))
    }),
    {
      attack: `${uploads.count} ${uploads.what}: an ordinary request during them`,
      limit: '200',
      found: String(ordinary.status || ordinary.body),
      held: ordinary.status === 200
    },
    {
      attack: `${uploads.count} ${uploads.what}: how long they stay open`,
      limit: `≤ ${limit} s (RECEIVE_TIMEOUT is ${RECEIVE_TIMEOUT_S} s)`,
      found: open > 0 ? `${open} are still open` : `${amount(last)} s`,
      held: open === 0
    }
  ]
  await leaveAll(clients)
  return [...rows, await memoryBack(gateway, restMib, uploads.what)]
}
