// @ts-check
// Traffic, faults and checks, which `npm run chaos`, `npm run soak` and the chaos test run with different numbers.
import { setTimeout as sleep } from 'node:timers/promises'
import { randomNumbers } from '../../tools/random.mjs'
import { runClients } from './clients.mjs'
import { haunt } from './faults.mjs'
import { startGateway } from './gateway.mjs'
import { MemoryLog } from './memory.mjs'
import { GAUGES, lawGap, scrape, total } from '../support/metrics.mjs'
import { pictureChecker } from './picture.mjs'

const SCRAPE_EVERY_MS = 200
/** How long to wait for the workers' heartbeats to return the gauges to zero, in ms. */
const CALM_MS = 20_000
/** The share of the requests during which the processes' memory still grows to its normal size. */
const WARM_UP = 0.5

/**
 * @typedef {object} Plan
 * @property {number} seed determines the requests and the faults
 * @property {number} clients
 * @property {number} [requests] the number of requests
 * @property {number} [seconds] or the duration of the traffic
 * @property {number} stepMs of the fake engine
 * @property {number} faults at most
 * @property {number} faultEveryMs on average
 *
 * @typedef {object} Observed
 * @property {import('./clients.mjs').Tally} tally
 * @property {Record<string, number>} faults
 * @property {number} scrapes
 * @property {number} lawBroken scrapes at which the conservation law did not hold
 * @property {import('../support/metrics.mjs').Samples} last metrics after the traffic
 * @property {{ gateway: number, workers: number, gatewayPeak: number, workersPeak: number }} memory slopes in MiB per 1,000 requests; peaks in MiB
 * @property {number} seconds
 * @property {readonly string[]} logged log lines that must not occur
 * @property {{ status: number | string | null, orphans: number[], files: string[], stderr: string }} end
 */

/**
 * @param {Plan} plan
 * @param {AbortSignal} [signal] kills the gateway, with which the run ends
 * @returns {Promise<Observed>}
 */
export async function run(plan, signal) {
  const isPicture = await pictureChecker()
  // Room for three of four clients, so that some requests are refused.
  const gateway = await startGateway({ stepMs: plan.stepMs, queueLimit: Math.ceil(plan.clients * 0.75) })
  signal?.addEventListener('abort', () => gateway.kill())
  const over = new AbortController()
  try {
    const observed = await observe(plan, gateway, isPicture, over)
    return { ...observed, logged: gateway.log.bad, end: await gateway.stop() }
  } catch (error) {
    over.abort()
    await gateway.stop()
    throw error
  }
}

/**
 * @param {Plan} plan
 * @param {Awaited<ReturnType<typeof startGateway>>} gateway
 * @param {import('./clients.mjs').IsPicture} isPicture
 * @param {AbortController} over stops the faults and the sampling
 */
async function observe(
  { seed, clients, requests = Infinity, seconds = Infinity, faults, faultEveryMs },
  gateway,
  isPicture,
  over
) {
  const start = performance.now()
  let next = 0
  const more = () => (next < requests && performance.now() - start < seconds * 1000 ? next++ : undefined)
  const watching = watch(gateway, over.signal)
  // Awaited after the clients, which end too when the gateway is gone.
  watching.catch(() => undefined)
  const haunting = haunt({
    workers: gateway.workers,
    everyMs: faultEveryMs,
    most: faults,
    random: randomNumbers(seed),
    signal: over.signal
  })
  const tally = await runClients({ url: gateway.url, clients, more, seed, isPicture })
  over.abort()
  const elapsed = (performance.now() - start) / 1000
  const { scrapes, lawBroken, gatewayMemory, workersMemory } = await watching
  const [from, last] = [next * WARM_UP, await calm(gateway.url)]
  return {
    tally,
    faults: await haunting,
    scrapes,
    lawBroken,
    last,
    memory: {
      gateway: gatewayMemory.slope(from),
      workers: workersMemory.slope(from),
      gatewayPeak: gatewayMemory.peak,
      workersPeak: workersMemory.peak
    },
    seconds: elapsed
  }
}

/**
 * Scrapes metrics and samples memory until `signal` aborts.
 *
 * @param {Awaited<ReturnType<typeof startGateway>>} gateway
 * @param {AbortSignal} signal
 */
async function watch(gateway, signal) {
  const gatewayMemory = new MemoryLog()
  const workersMemory = new MemoryLog()
  let scrapes = 0
  let lawBroken = 0
  while (!signal.aborted) {
    const samples = await scrape(gateway.url)
    const done = total(samples, 'easel_requests_total')
    scrapes += 1
    if (lawGap(samples) !== 0) lawBroken += 1
    gatewayMemory.note([gateway.pid], done)
    workersMemory.note(gateway.workers(), done)
    await sleep(SCRAPE_EVERY_MS, undefined, { signal }).catch(() => undefined)
  }
  return { scrapes, lawBroken, gatewayMemory, workersMemory }
}

/**
 * Waits until the gauges are at zero, or until the time limit.
 *
 * @param {string} url
 */
async function calm(url) {
  const end = performance.now() + CALM_MS
  for (;;) {
    const samples = await scrape(url)
    const quiet =
      GAUGES.every((name) => total(samples, name) === 0) &&
      total(samples, 'easel_workers_ready') === total(samples, 'easel_workers_expected')
    if (quiet || performance.now() > end) return samples
    await sleep(SCRAPE_EVERY_MS)
  }
}
