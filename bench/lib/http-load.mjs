// @ts-check
import { Agent, request } from 'node:http'
import { StepError } from '../../tools/run.mjs'

/**
 * More frequent than a platform's probes and a page or two, but rare enough that answering takes no noticeable time from
 * images.
 */
const HEALTH_EVERY_MS = 100

/** Clients share the machine with the server, so they must be cheap: `fetch` takes twice the time. */
const agent = new Agent({
  keepAlive: true,
  // Close idle connections before uvicorn does, after 5 s, which would lose a request.
  timeout: 4000
})

/**
 * What clients observed. They are closed loops: each sends its next request after the last answer. Another client
 * requests /health ten times a second without waiting for the last answer, so every server gets the same number of
 * requests, and a block of one second shows in ten of them.
 *
 * @typedef {object} Seen
 * @property {number} clients
 * @property {number} rate images/s
 * @property {number[]} latencies ms
 * @property {number[]} files ms that making each file took, from Server-Timing
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
  health.catch(() => {})
  await Promise.all(Array.from({ length: clients }, client))
  const elapsed = (performance.now() - start) / 1000
  return {
    clients,
    rate: latencies.length / elapsed,
    latencies,
    files,
    health: await health,
    bytes: bytes / latencies.length
  }
}

/**
 * @param {string} url
 * @param {object} body
 * @returns {Promise<{ size: number, timings: Record<string, number>, chunks: Buffer[] }>}
 */
export async function post(url, body) {
  const { status, headers, chunks, size } = await ask(`${url}/generate`, JSON.stringify(body))
  if (status !== 200) throw new StepError(`status ${status}: ${Buffer.concat(chunks)}`)
  const entries = String(headers['server-timing'] ?? '')
    .split(', ')
    .map((entry) => entry.split(';dur='))
  return { size, chunks, timings: Object.fromEntries(entries.map(([name, ms]) => [name, Number(ms)])) }
}

/**
 * Sends one request: a POST with a body, else a GET.
 *
 * @param {string} url
 * @param {string} [json]
 * @returns {Promise<{ status: number | undefined, headers: import('node:http').IncomingHttpHeaders, chunks: Buffer[], size: number }>}
 */
function ask(url, json) {
  const headers =
    json === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(json) }
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent, headers, method: json === undefined ? 'GET' : 'POST' }, (answer) => {
      /** @type {Buffer[]} */
      const chunks = []
      let size = 0
      answer.on('data', (chunk) => {
        chunks.push(chunk)
        size += chunk.length
      })
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, chunks, size }))
      answer.on('error', reject)
    })
    sent.on('error', reject)
    sent.end(json)
  })
}

/**
 * @param {string} url
 * @param {number} end
 */
async function probe(url, end) {
  /** @type {Promise<number | Error>[]} */
  const answers = []
  while (performance.now() < end) {
    const start = performance.now()
    // A rejection before anybody waits for it would end the process and hide why a client failed.
    answers.push(
      ask(`${url}/health`).then(
        () => performance.now() - start,
        (/** @type {Error} */ error) => error
      )
    )
    await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS))
  }
  return (await Promise.all(answers)).map((answer) => {
    if (answer instanceof Error) throw new StepError(`/health: ${answer.message}`)
    return answer
  })
}
