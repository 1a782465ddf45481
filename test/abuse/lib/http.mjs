// @ts-check
import http from 'node:http'

/**
 * What came of a request: a whole answer, or a connection that broke.
 *
 * @typedef {{ status: number, headers: http.IncomingHttpHeaders, body: Buffer, ms: number }} Answer `status` is 0 where no whole answer came, and `body` then says why
 */

/**
 * Sends one request over a connection of its own and reads its answer to the end.
 *
 * @param {string} url
 * @param {{ method?: string, headers?: http.OutgoingHttpHeaders, body?: Buffer | string | undefined, agent?: http.Agent | undefined, most?: number }} [options] most: ms that it is waited for
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
        if (!response.complete) broken('the answer broke off')
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
 * POST /generate.
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
 * Whether an answer is a refusal as it should be: come again, and when.
 *
 * @param {Answer} answer
 */
export function refused({ status, headers }) {
  return (status === 429 || status === 503) && Number(headers['retry-after']) >= 1
}

/**
 * How often each status came, as in `12 × 200, 4 × 429`.
 *
 * @param {readonly number[]} statuses 0 stands for none
 */
export function tally(statuses) {
  /** @type {Map<number, number>} */
  const counts = new Map()
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1)
  return [...counts]
    .toSorted(([a], [b]) => a - b)
    .map(([status, count]) => `${count} × ${status === 0 ? 'no whole answer' : status}`)
    .join(', ')
}
