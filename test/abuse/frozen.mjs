// @ts-check
// Attack 7: the gateway freezes for a while (a paused machine, a long garbage collection) and continues.
import { setTimeout as sleep } from 'node:timers/promises'
import { scrape } from '../support/metrics.mjs'
import { attacked } from './lib/attack.mjs'
import { generate, SMALL } from './lib/http.mjs'
import { signal, waitFor } from './lib/proc.mjs'
import { stall, STALLABLE } from './lib/stall.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */

/** In ms: longer than HEARTBEAT_TIMEOUT, and longer than a worker waits for its gateway. */
const FREEZE_MS = 11_500
/** In ms: long enough for a worker to reconnect twice. */
const STALL_MS = 22_000
/** A gateway with short timeouts, for which the freeze is long. */
const QUICK = { env: { HEARTBEAT_INTERVAL: '0.2', HEARTBEAT_TIMEOUT: '2' }, ms: 2500 }
const FAKE = '--sizes 64x64 --fake-step-ms 100'
/** Time for the effects of a freeze to show, in ms. */
const AFTER_MS = 2000

/** @param {{ short?: boolean }} [options] */
export function frozenAttacks({ short = false } = {}) {
  const quick = twice(QUICK.ms, 80, QUICK.env)
  return Promise.all(short ? [quick] : [quick, twice(FREEZE_MS, 130, {}), stalled()])
}

/**
 * Freezes the gateway twice during one request.
 *
 * @param {number} ms of each
 * @param {number} steps of the request, a tenth of a second each, so that it is not done before the second freeze
 * @param {Record<string, string>} env
 */
function twice(ms, steps, env) {
  const attack = `a gateway frozen for ${ms / 1000} s, twice`
  return attacked(attack, { fake: FAKE, env }, async ({ gateway, prober }) => {
    const before = gateway.workers()
    const answer = generate(gateway.url, { ...SMALL, num_inference_steps: steps }, { most: 60_000 })
    for (let turn = 0; turn < 2; turn++) {
      await sleep(AFTER_MS / 2)
      await freeze(gateway.pid, prober, ms)
    }
    const { status, body } = await answer
    await sleep(AFTER_MS)
    const after = gateway.workers()
    /** @type {Row[]} */
    const rows = [
      {
        attack: `${attack}: its healthy worker`,
        limit: '0 killed',
        found: before.join() === after.join() ? '0' : `worker ${before.join()} is ${after.join() || 'gone'} now`,
        held: before.length === 1 && before.join() === after.join()
      },
      {
        attack: `${attack}: its running request`,
        limit: '200',
        found: `${status} ${status === 200 ? '' : body.toString('utf8', 0, 120)}`,
        held: status === 200
      }
    ]
    return rows
  })
}

function stalled() {
  const attack = `a gateway whose event loop is blocked for ${STALL_MS / 1000} s`
  return attacked(attack, { fake: FAKE, node: STALLABLE }, async ({ gateway, prober }) => {
    prober.pause()
    await sleep(200)
    await stall(gateway, STALL_MS)
    prober.resume()
    await sleep(AFTER_MS)
    const ready = await waitFor(async () => (await generate(gateway.url, SMALL)).status === 200, 10_000)
    const samples = await scrape(gateway.adminUrl)
    const names = new Set([...samples.keys()].flatMap((sample) => /worker="([^"]*)"/.exec(sample)?.[1] ?? []))
    const phantoms = [...names].filter((name) => name !== 'worker-0')
    return [
      {
        attack: `${attack}: workers in /metrics with unknown names`,
        limit: '0',
        found: `${phantoms.length} ${phantoms.map((name) => JSON.stringify(name)).join(' ')}`.trim(),
        held: phantoms.length === 0 && ready !== undefined
      }
    ]
  })
}

/**
 * @param {number} pid
 * @param {import('./lib/prober.mjs').Prober} prober pauses, since a stopped process cannot answer
 * @param {number} ms
 */
async function freeze(pid, prober, ms) {
  prober.pause()
  await sleep(200)
  signal(pid, 'SIGSTOP')
  await sleep(ms)
  signal(pid, 'SIGCONT')
  await sleep(200)
  prober.resume()
}
