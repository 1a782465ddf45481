// @ts-check
// Attack 2: clients that request much and read nothing.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { scrape, total } from '../support/metrics.mjs'
import { amount, attacked, atMost } from './lib/attack.mjs'
import { ownFolder, removeFolder } from './lib/gateway.mjs'
import { generate, SMALL, tally } from './lib/http.mjs'
import { LEFT_MIB, PEAK_MIB, SEND_TIMEOUT_S, SLACK_S } from './lib/limits.mjs'
import { has } from './lib/options.mjs'
import { peakMib, waitFor } from './lib/proc.mjs'
import { generateBytes, leaveAll, RawClient } from './lib/raw.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/gateway.mjs').Gateway} Gateway */

/** How long making all answers may take, in ms. */
const MAKING_MS = 45_000
/** How long freeing memory may take, in ms. */
const BACK_MS = 10_000
/** A connection that receives nothing for this long counts as stalled, in ms. */
const QUIET_MS = 500
const KEY = 'a-key-of-the-abuse-run'

/** Sixteen pictures of 1024², 60 MB as JSON. */
export const LARGE = { prompt: 'a lighthouse', num_inference_steps: 1, width: 1024, height: 1024, num_images: 16 }
const JSON_ANSWER = { accept: 'application/json' }
const EVENTS = { accept: 'text/event-stream' }

/** @param {{ short?: boolean }} [options] */
export async function unreadAttacks({ short = false } = {}) {
  const outcomes = [await replays(short ? 8 : 20), await oneAtATime()]
  if (short) return outcomes
  const answers = await attacked('unread answers', {}, (under) =>
    unread(under, { what: 'JSON answers of 16 images', count: 12, request: generateBytes(LARGE, JSON_ANSWER) })
  )
  const streams = await attacked('unread event streams', {}, (under) =>
    unread(under, {
      what: 'event streams of 8 images with previews',
      count: 12,
      request: generateBytes({ ...LARGE, num_images: 8, num_inference_steps: 20, preview_interval: 1 }, EVENTS)
    })
  )
  return [answers, streams, ...outcomes]
}

/**
 * Opens connections, sends a request on each, and reads only the beginning of each answer.
 *
 * @param {number} port
 * @param {string} request
 * @param {number} count
 */
export async function openUnread(port, request, count) {
  const clients = Array.from({ length: count }, () => new RawClient(port))
  await Promise.all(clients.map((client) => client.write(request)))
  void Promise.all(clients.map((client) => client.readStart(MAKING_MS)))
  return clients
}

/**
 * @param {import('./lib/attack.mjs').Under} under
 * @param {{ what: string, count: number, request: string }} load
 * @returns {Promise<Row[]>}
 */
async function unread({ gateway, restMib }, { what, count, request }) {
  const clients = await openUnread(gateway.port, request, count)
  await made(gateway, clients)
  const peak = peakMib(gateway.pid)
  const statuses = clients.map(({ status }) => status)
  /** @type {Row[]} */
  const rows = [
    {
      ...atMost(`${count} unread ${what}`, { found: peak, limit: PEAK_MIB, unit: 'MiB RSS', note: tally(statuses) }),
      // Refusing all of them would pass too easily.
      held: peak !== undefined && peak <= PEAK_MIB && statuses.includes(200)
    }
  ]
  rows.push(await cut(what, clients), await memoryBack(gateway, restMib, what))
  await leaveAll(clients)
  return rows
}

/** Waits until every client has an answer's beginning and no images are being made. @param {Gateway} gateway @param {readonly RawClient[]} clients */
async function made(gateway, clients) {
  await waitFor(
    async () =>
      gateway.ended() ||
      (clients.every(({ status, isClosed }) => status !== 0 || isClosed) && (await inFlight(gateway)) === 0),
    MAKING_MS
  )
}

/** @param {Gateway} gateway */
async function inFlight(gateway) {
  return scrape(gateway.adminUrl).then(
    (samples) => total(samples, 'easel_requests_in_flight'),
    () => 0
  )
}

/**
 * Checks that clients that do not read are disconnected and lose the unread rest.
 *
 * @param {string} what
 * @param {readonly RawClient[]} clients
 * @returns {Promise<Row>}
 */
async function cut(what, clients) {
  const limit = SEND_TIMEOUT_S + SLACK_S
  // An answer that begins later also ends later.
  const open = clients.filter(({ status }) => status === 200)
  await sleep(limit * 1000)
  await Promise.all(open.map((client) => client.drain(QUIET_MS)))
  const whole = open.filter((client) => client.whole || !client.isClosed).length
  const known = has('SEND_TIMEOUT') ? `SEND_TIMEOUT is ${SEND_TIMEOUT_S} s` : 'no SEND_TIMEOUT option'
  return {
    attack: `${what}: disconnected if unread`,
    limit: `all within ${limit} s`,
    found: `${open.length - whole} of ${open.length} (${known})`,
    held: whole === 0
  }
}

/**
 * Measures memory after the attack and a few ordinary requests: an idle V8 does not collect garbage.
 *
 * @param {Gateway} gateway
 * @param {number} restMib
 * @param {string} what
 * @param {number} [limit] MiB
 * @returns {Promise<Row>}
 */
export async function memoryBack(gateway, restMib, what, limit = restMib + LEFT_MIB) {
  await waitFor(async () => {
    await generate(gateway.url, { ...LARGE, num_images: 1 }, { most: 20_000 })
    return gateway.ended() || gateway.rss() <= limit
  }, BACK_MS)
  const found = gateway.ended() ? undefined : gateway.rss()
  return atMost(`${what}: memory afterwards`, {
    found,
    limit,
    unit: 'MiB RSS',
    note: `${amount(restMib)} MiB before${await ownCount(gateway)}`
  })
}

/** Returns the gateway's own count of what it holds for its clients. @param {Gateway} gateway */
async function ownCount({ adminUrl }) {
  const samples = await scrape(adminUrl).catch(() => new Map())
  return has('MEMORY_BUDGET')
    ? `, ${amount(total(samples, 'easel_memory_bytes') / 2 ** 20)} MiB held according to its metrics`
    : ''
}

/** Clients that read nothing request one set of images repeatedly with its key. @param {number} count */
function replays(count) {
  return attacked('unread replays', {}, async ({ gateway, restMib }) => {
    const headers = { ...JSON_ANSWER, 'idempotency-key': 'the-same-again' }
    const first = await generate(gateway.url, { ...LARGE, seed: 1 }, { headers })
    const clients = await openUnread(gateway.port, generateBytes({ ...LARGE, seed: 1 }, headers), count)
    await made(gateway, clients)
    const statuses = clients.map(({ status }) => status)
    const what = `unread replays of one answer of ${amount(first.body.length / 2 ** 20)} MiB`
    const row = atMost(`${count} ${what}`, {
      found: peakMib(gateway.pid),
      limit: PEAK_MIB,
      unit: 'MiB RSS',
      note: tally(statuses)
    })
    await leaveAll(clients)
    // The answer itself stays stored for its key.
    return [
      { ...row, held: row.held === true && first.status === 200 },
      await memoryBack(gateway, restMib + first.body.length / 2 ** 20, 'replays')
    ]
  })
}

/** A key limited to one request at a time has one until its answer is read. */
async function oneAtATime() {
  const folder = await ownFolder()
  const file = join(folder, 'keys.json')
  await writeFile(file, JSON.stringify({ keys: [{ name: 'abuser', key: KEY, concurrent_requests: 1 }] }))
  const headers = { authorization: `Bearer ${KEY}` }
  try {
    return await attacked(
      'an unread answer of a key limited to one request at a time',
      { env: { ACCESS_KEYS: file }, headers },
      async ({ gateway }) => {
        const [client] = await openUnread(gateway.port, generateBytes(LARGE, { ...JSON_ANSWER, ...headers }), 1)
        if (client === undefined) throw new Error('no client')
        await waitFor(() => client.status !== 0 || client.isClosed, MAKING_MS)
        const second = await generate(gateway.url, SMALL, { headers })
        await client.drain(QUIET_MS)
        await client.leave()
        // We cannot observe when the gateway notices it.
        const after = await waitFor(
          async () => (await generate(gateway.url, SMALL, { headers })).status === 200,
          SLACK_S * 1000
        )
        return [
          {
            attack: 'a second request of a key limited to one, whose first answer is unread',
            limit: '1 at a time: 429, then 200 after the first is read',
            found: `first ${client.status}, second ${second.status}, then ${after === undefined ? 'no 200' : '200'}`,
            held: client.status === 200 && second.status === 429 && after !== undefined
          }
        ]
      }
    )
  } finally {
    removeFolder(folder)
  }
}
