// @ts-check
import http from 'node:http'

/**
 * A request's outcome: a complete answer or a broken connection.
 *
 * @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: Buffer, ms: number }} Answer `status` is 0 without a complete answer, and `body` then says why
 */

/**
 * Sends one request over a new connection and reads the complete answer.
 *
 * @param {string} url
 * @param {{ method?: string, headers?: http.OutgoingHttpHeaders, body?: Buffer | string | undefined, agent?: http.Agent | undefined, most?: number }} [options] most: timeout in ms
 * @returns {Promise<Answer>}
 */
export function ask(url, { method, headers = {}, body, agent, most = 60_000 } = {}) {
  const start = performance.now()
  return new Promise((resolve) => {
    const broken = (/** @type {string} */ why) =>
      resolve({ status: 0, headers: {}, body: Buffer.from(why), ms: performance.now() - start })
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
    const request = http.request(url, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { ...length, ...headers },
      agent: agent ?? false
    })
    const patience = setTimeout(() => request.destroy(new Error(`no answer within ${most / 1000} s`)), most)
    request.once('response', (response) => {
      /** @type {Buffer[]} */
      const chunks = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.once('close', () => {
        if (!response.complete) broken('the answer is incomplete')
        else
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks),
            ms: performance.now() - start
          })
      })
    })
    request.once('error', (error) => broken(error.message))
    request.once('close', () => clearTimeout(patience))
    request.end(body)
  })
}

/**
 * Sends POST /generate.
 *
 * @param {string} url
 * @param {object} body
 * @param {{ headers?: http.OutgoingHttpHeaders, most?: number }} [options]
 */
export function generate(url, body, { headers = {}, most = 60_000 } = {}) {
  return ask(`${url}/generate`, {
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
    most
  })
}

/** A small ordinary request. */
export const SMALL = { prompt: 'a red circle', num_inference_steps: 1, width: 64, height: 64 }

/**
 * Tells whether an answer is a proper refusal, which says when to retry.
 *
 * @param {Answer} answer
 */
export function refused({ status, headers }) {
  return (status === 429 || status === 503) && Number(headers['retry-after']) >= 1
}

/**
 * Counts each status, as in `12 × 200, 4 × 429`.
 *
 * @param {readonly number[]} statuses 0 for no complete answer
 */
export function tally(statuses) {
  /** @type {Map<number, number>} */
  const counts = new Map()
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts]
    .toSorted(([a], [b]) => a - b)
    .map(([status, count]) => `${count} × ${status === 0 ? 'no complete answer' : status}`)
    .join(', ')
}
