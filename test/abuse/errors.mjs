// @ts-check
// Attack 12: invalid requests. Every error response has the same form and an id, and no client text reaches the log.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../../tools/run.mjs'
import { amount, attacked } from './lib/attack.mjs'
import { ask } from './lib/http.mjs'
import { ERROR_BYTES } from './lib/limits.mjs'
import { Log } from './lib/log.mjs'
import { waitFor } from './lib/proc.mjs'
import { head, RawClient } from './lib/raw.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */
/** @typedef {{ status: number, code: string | undefined, id: string | undefined, idHeader: string | undefined }} Seen */

const ANSWER_MS = 5000
/** Secrets that a client may have sent by mistake. */
const SECRET = 'a-prompt-that-nobody-should-read'
const UNKNOWN_KEY = JSON.stringify({ prompt: 'x', [SECRET + 'y'.repeat(60_000)]: 1 })
const FAKE = '--sizes 64x64 --fake-step-ms 0'

/** @type {readonly { what: string, bytes: string, status: number, code: string }[]} */
const BAD = [
  { what: 'GET /%ff', bytes: head('/%ff', {}, 'GET'), status: 400, code: 'INVALID_REQUEST' },
  { what: 'no Host', bytes: 'GET /health HTTP/1.1\r\n\r\n', status: 400, code: 'INVALID_REQUEST' },
  {
    what: 'Expect: the-unexpected',
    bytes: head('/generate', { expect: 'the-unexpected', 'content-length': 0 }),
    status: 417,
    code: 'EXPECTATION_FAILED'
  },
  {
    what: 'text/plain',
    bytes: `${head('/generate', { 'content-type': 'text/plain', 'content-length': 1 })}x`,
    status: 415,
    code: 'UNSUPPORTED_MEDIA_TYPE'
  },
  { what: 'not HTTP', bytes: 'what is this\r\n\r\n', status: 400, code: 'INVALID_REQUEST' },
  {
    what: 'headers of 100 KB',
    bytes: head('/health', { 'x-long': 'x'.repeat(100_000) }, 'GET'),
    status: 431,
    code: 'HEADERS_TOO_LARGE'
  },
  { what: 'an unknown path', bytes: head('/nowhere', {}, 'GET'), status: 404, code: 'NOT_FOUND' }
]

export async function errorAttacks() {
  return [
    await attacked('invalid requests', { fake: FAKE, env: { LOG_LEVEL: 'debug' } }, async ({ gateway }) => {
      const page = await startPage(gateway.url)
      try {
        const processes = [
          { name: 'gateway', port: gateway.port, log: /** @type {Log} */ (gateway.log) },
          { name: 'page', port: page.port, log: page.log }
        ]
        /** @type {Row[]} */
        const rows = []
        for (const bad of BAD) rows.push(await oneForm(bad, processes))
        for (const { name, port, log } of processes) rows.push(await unknownKey(name, port, log))
        return rows
      } finally {
        await page.stop()
      }
    })
  ]
}

/**
 * @param {typeof BAD[number]} bad
 * @param {readonly { name: string, port: number }[]} processes
 * @returns {Promise<Row>}
 */
async function oneForm({ what, bytes, status, code }, processes) {
  const found = []
  let held = true
  for (const { name, port } of processes) {
    const seen = await answerTo(port, bytes)
    const right = seen.status === status && seen.code === code && seen.id !== undefined && seen.id === seen.idHeader
    held &&= right
    found.push(
      `${name} ${seen.status || 'no answer'}${right ? '' : ` (${seen.code ?? 'no code'}, ${seen.id === undefined ? 'no id' : seen.idHeader === seen.id ? 'id' : 'id, but not in x-request-id'})`}`
    )
  }
  return {
    attack: `error form: ${what}`,
    limit: `${status}, code ${code}, id in body and header`,
    found: found.join(', '),
    held
  }
}

/**
 * @param {number} port
 * @param {string} bytes
 * @returns {Promise<Seen>}
 */
async function answerTo(port, bytes) {
  const client = new RawClient(port, { reads: true })
  await client.write(bytes)
  await waitFor(() => client.whole || client.isClosed, ANSWER_MS)
  await client.leave()
  const text = client.start.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const idHeader = /^x-request-id: (.*)$/im.exec(text.slice(0, end))?.[1]?.trim()
  const { code, requestId: id } = parsed(text.slice(end + 4))
  return { status: client.status, code, id, idHeader }
}

/** @param {string} text @returns {{ code?: string, requestId?: string }} */
function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return {}
  }
}

/**
 * @param {string} name
 * @param {number} port
 * @param {Log} log
 * @returns {Promise<Row>}
 */
async function unknownKey(name, port, log) {
  const before = log.text.length
  const { status, body } = await ask(`http://127.0.0.1:${port}/generate`, {
    headers: { 'content-type': 'application/json' },
    body: UNKNOWN_KEY
  })
  // The log has its line once it has the next request's line.
  await ask(`http://127.0.0.1:${port}/after-the-unknown-key`)
  await waitFor(() => log.text.includes('/after-the-unknown-key'), ANSWER_MS)
  const lines = log.text.slice(before).split('\n')
  const longest = Math.max(...lines.map((line) => line.length))
  const told = lines.some((line) => line.includes(SECRET))
  return {
    attack: `an unknown field of 60 KB, sent to the ${name}`,
    limit: `400, answer and log lines ≤ ${amount(ERROR_BYTES)} bytes, none of its text in the log`,
    found: `${status}, answer ${amount(body.length)} bytes, longest line ${amount(longest)} bytes, ${told ? 'its text is in the log' : 'no text'}`,
    held: status === 400 && body.length <= ERROR_BYTES && longest <= ERROR_BYTES && !told
  }
}

/** Starts the page's own process in front of a gateway. @param {string} serverUrl */
async function startPage(serverUrl) {
  const child = spawn(process.execPath, [join(root, 'dist/webapp/main.js')], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, HOST: '127.0.0.1', PORT: '0', SERVER_URL: serverUrl, LOG_FORMAT: 'json', LOG_LEVEL: 'debug' }
  })
  const log = new Log(child.stdout)
  const exit = new Promise((resolve) => child.once('exit', resolve))
  const port = () => Number(/http:\/\/[\w.]+:(\d+)/.exec(log.text.replaceAll(serverUrl, ''))?.[1] ?? 0)
  await waitFor(() => port() !== 0 || child.exitCode !== null, 20_000)
  return {
    port: port(),
    log,
    stop() {
      child.kill('SIGTERM')
      return exit
    }
  }
}
