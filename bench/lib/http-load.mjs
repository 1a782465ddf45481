// @ts-check
import { StepError } from '../../scripts/lib/run.mjs'

const HEALTH_EVERY_MS = 20

/**
 * What clients saw: closed loops, each sending its next request when its last is answered, and beside them one that
 * asks for /health every 20 ms.
 *
 * @typedef {object} Seen
 * @property {number} clients
 * @property {number} rate images/s
 * @property {number[]} latencies ms
 * @property {number[]} files ms that each file took to make, as Server-Timing says
 * @property {number[]} health ms
 * @property {number} bytes mean size of an image
 */

/**
 * @param {string} url
 * @param {{ clients: number, seconds: number, body: object }} load each request's seed is added to the body
 * @returns {Promise<Seen>}
 */
export async function load(url, { clients, seconds, body }) {
  const end = performance.now() + seconds * 1000
  /** @type {number[]} */
  const latencies = []
  /** @type {number[]} */
  const files = []
  let bytes = 0
  let seed = 0
  const client = async () => {
    while (performance.now() < end) {
      const start = performance.now()
      const { size, timings } = await post(url, { ...body, seed: (seed += 1) })
      latencies.push(performance.now() - start)
      files.push(timings['file'] ?? Number.NaN)
      bytes += size
    }
  }
  const start = performance.now()
  const health = probe(url, end)
  await Promise.all(Array.from({ length: clients }, client))
  const elapsed = (performance.now() - start) / 1000
  return { clients, rate: latencies.length / elapsed, latencies, files, health: await health, bytes: bytes / latencies.length }
}

/**
 * @param {string} url
 * @param {object} body
 * @returns {Promise<{ size: number, timings: Record<string, number> }>}
 */
export async function post(url, body) {
  const response = await fetch(`${url}/generate`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const image = await response.arrayBuffer()
  if (response.status !== 200) throw new StepError(`status ${response.status}: ${Buffer.from(image)}`)
  const entries = (response.headers.get('server-timing') ?? '').split(', ').map((entry) => entry.split(';dur='))
  return { size: image.byteLength, timings: Object.fromEntries(entries.map(([name, ms]) => [name, Number(ms)])) }
}

/**
 * @param {string} url
 * @param {number} end
 */
async function probe(url, end) {
  /** @type {number[]} */
  const latencies = []
  while (performance.now() < end) {
    const start = performance.now()
    await (await fetch(`${url}/health`)).arrayBuffer()
    latencies.push(performance.now() - start)
    await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS))
  }
  return latencies
}
