// @ts-check
// Attack 13: all other attacks on memory at the same time, within a container's memory limit.
import { setTimeout as sleep } from 'node:timers/promises'
import { scrape, total } from '../support/metrics.mjs'
import { amount, attacked, atMost } from './lib/attack.mjs'
import { FAST } from './lib/gateway.mjs'
import { ask, generate, SMALL } from './lib/http.mjs'
import { has } from './lib/options.mjs'
import { waitFor } from './lib/proc.mjs'
import { generateBytes, idle, leaveAll } from './lib/raw.mjs'
import { askForEight, everyOne, memory } from './load.mjs'
import { bomb } from './recipe.mjs'
import { LARGE, memoryBack, openUnread } from './unread.mjs'
import { files, openUploads } from './uploads.mjs'
import { openWatchers } from './watchers.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {import('./lib/raw.mjs').RawClient} RawClient */
/** @typedef {import('./lib/gateway.mjs').Gateway} Gateway */

const SECONDS = 20
/** How long an ordinary request may take after the attack, with all its retries, in ms. */
const CALM_MS = 30_000
/** A pause of refused clients between two rounds, in ms. */
const ROUND_MS = 2000
const READERS = 10
const ID = 'the-watched-one'
const JSON_ANSWER = { accept: 'application/json' }
const EIGHT = { ...LARGE, num_images: 8 }
/** Runs longer than the attack unless it is cancelled. */
const WATCHED = { ...LARGE, num_images: 1, num_inference_steps: 1000, preview_interval: 1 }
const FAKE = FAST.replace('--fake-step-ms 0', '--fake-step-ms 50')

export async function everythingAttacks() {
  return [await inMemory(1024), await inMemory(512)]
}

/** @param {number} memoryMib */
function inMemory(memoryMib) {
  const what = `everything at once in ${amount(memoryMib)} MiB`
  return attacked(what, { memoryMib, fake: FAKE }, async ({ gateway, restMib }) => {
    const end = performance.now() + SECONDS * 1000
    const more = () => performance.now() < end && !gateway.ended()
    const answers = await assault(gateway, more)
    const after = await waitFor(
      async () => (await generate(gateway.url, SMALL, { most: CALM_MS / 3 })).status === 200 || gateway.ended(),
      CALM_MS
    )
    return [
      memory(gateway, memoryMib, what),
      everyOne(`${what}: clients that read`, answers),
      {
        attack: `${what}: an ordinary request afterwards`,
        limit: `200 within ${CALM_MS / 1000} s`,
        found: gateway.ended()
          ? 'the gateway ended'
          : after === undefined
            ? 'none'
            : `200 after ${amount(after / 1000)} s`,
        held: !gateway.ended() && after !== undefined
      },
      // The C library does not return all freed memory; a fifth of the container must still be free.
      await memoryBack(gateway, restMib, what, 0.8 * memoryMib),
      await ownCountBack(gateway, memoryMib, what)
    ]
  })
}

/**
 * Checks what the gateway still holds after its clients have left: answers for retries, at most an eighth of its budget.
 *
 * @param {Gateway} gateway
 * @param {number} memoryMib
 * @param {string} what
 * @returns {Promise<Row>}
 */
async function ownCountBack({ adminUrl }, memoryMib, what) {
  const limit = memoryMib / 16
  const samples = has('MEMORY_BUDGET') ? await scrape(adminUrl).catch(() => undefined) : undefined
  const found = samples && total(samples, 'easel_memory_bytes') / 2 ** 20
  return atMost(`${what}: held for clients afterwards, by easel_memory_bytes`, { found, limit, unit: 'MiB' })
}

/**
 * Runs all attacks while `more` returns true.
 *
 * @param {Gateway} gateway
 * @param {() => boolean} more
 * @returns the answers of the clients that read
 */
async function assault(gateway, more) {
  const { url, port } = gateway
  /** @type {import('./lib/http.mjs').Answer[]} */
  const answers = []
  const watched = generate(url, WATCHED, { headers: { 'x-request-id': ID }, most: 2 * SECONDS * 1000 })
  const idlers = await idle(port, 500)
  const attackers = [
    again(more, () =>
      ask(`${url}/recipe`, { headers: { 'content-type': 'image/png' }, body: bomb(), most: SECONDS * 1000 })
    ),
    holding(more, () => openUploads(port, { ...files, count: 16 })),
    holding(more, () => openUnread(port, generateBytes(EIGHT, JSON_ANSWER), 12)),
    holding(more, () =>
      openUnread(
        port,
        generateBytes({ ...EIGHT, seed: 1 }, { ...JSON_ANSWER, 'idempotency-key': 'the-same-again' }),
        20
      )
    ),
    holding(more, () => openWatchers(port, ID, 200)),
    ...Array.from({ length: READERS }, (_, reader) =>
      again(more, async (turn) => answers.push(await askForEight(url, 1000 * reader + turn)))
    )
  ]
  await Promise.all(attackers)
  await ask(`${url}/requests/${ID}`, { method: 'DELETE' })
  await watched
  await leaveAll(idlers)
  return answers
}

/**
 * Repeats an action, with a pause that keeps refused clients from using the whole machine.
 *
 * @param {() => boolean} more
 * @param {(turn: number) => Promise<unknown>} act
 */
async function again(more, act) {
  for (let turn = 0; more(); turn++) {
    await act(turn)
    await sleep(200)
  }
}

/**
 * Keeps connections open until the end; replaces them when half of them were refused.
 *
 * @param {() => boolean} more
 * @param {() => Promise<RawClient[]>} open
 */
async function holding(more, open) {
  while (more()) {
    const clients = await open()
    await waitFor(
      () => !more() || 2 * clients.filter(({ isClosed }) => isClosed).length > clients.length,
      SECONDS * 1000
    )
    await leaveAll(clients)
    await sleep(ROUND_MS)
  }
}
