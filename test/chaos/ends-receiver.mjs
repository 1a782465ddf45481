// @ts-check
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Webhook } from 'standardwebhooks'
import { randomNumbers } from '../../tools/random.mjs'

/** Signs the webhooks of the gateways. */
export const SECRET = `whsec_${Buffer.alloc(32, 7).toString('base64')}`

/** The share of ends whose first attempt is not taken: the next one comes 5 s later. After a second failure it would take minutes. */
const FAILS = 0.2
/** Ends that hang for as long as was asked; later ones for 1 s. A gateway sends four at a time to one host. */
const LONG_HANGS = 40

/** Servers that are told the ends of jobs, and fail, hang and drop connections at random. */
export class EndsReceiver {
  /**
   * @param {number} seed
   * @param {number} hangMs for which it leaves an attempt without an answer
   */
  constructor(seed, hangMs) {
    this.random = randomNumbers(seed)
    this.hangMs = hangMs
    /** @type {import('node:http').Server[]} */
    this.servers = []
    /** @type {string[]} http://127.0.0.1:PORT */
    this.urls = []
    /** @type {import('./told.mjs').Told[]} all that came whole, whether it was taken or not */
    this.told = []
    /** @type {Set<string>} ids of those that were answered 2xx */
    this.taken = new Set()
    /** @type {Map<string, number>} attempts by id */
    this.attempts = new Map()
    /** @type {Record<string, number>} */
    this.failures = { failed: 0, hung: 0, 'dropped unread': 0, 'dropped late': 0 }
    /** @type {string[]} what must not happen */
    this.broken = []
  }

  /** @param {number} hosts */
  async start(hosts) {
    for (let index = 0; index < hosts; index++) {
      const server = createServer((request, response) => {
        // The gateway may be killed meanwhile.
        this.answer(request, response).catch(() => response.destroy())
      })
      await once(server.listen(0, '127.0.0.1'), 'listening')
      this.servers.push(server)
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address())
      this.urls.push(`http://127.0.0.1:${port}`)
    }
  }

  /** @param {number} index of a job */
  addressFor(index) {
    return `${this.urls[index % this.urls.length]}/ends/job-${index}?token=secret`
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {import('node:http').ServerResponse} response
   */
  async answer(request, response) {
    const id = String(request.headers['webhook-id'])
    const attempt = (this.attempts.get(id) ?? 0) + 1
    this.attempts.set(id, attempt)
    const failure = attempt === 1 && this.random() < FAILS ? this.pick() : undefined
    if (failure !== undefined) this.failures[failure] = (this.failures[failure] ?? 0) + 1
    if (failure === 'dropped unread') {
      request.socket.destroy()
      return
    }
    let body = ''
    for await (const chunk of request.setEncoding('utf8')) body += chunk
    this.read(request, id, body)
    if (failure === 'hung') await sleep((this.failures['hung'] ?? 0) <= LONG_HANGS ? this.hangMs : 1000)
    if (failure === 'hung' || failure === 'dropped late') {
      request.socket.destroy()
      return
    }
    if (failure === 'failed') {
      response.writeHead(503, { 'retry-after': '1' }).end('not now')
      return
    }
    response.writeHead(204).end()
    this.taken.add(id)
  }

  pick() {
    const names = Object.keys(this.failures)
    return /** @type {string} */ (names[Math.floor(this.random() * names.length)])
  }

  /**
   * @param {import('node:http').IncomingMessage} request
   * @param {string} id
   * @param {string} body
   */
  read(request, id, body) {
    const job = /^\/ends\/(job-\d+)\?token=secret$/.exec(request.url ?? '')?.[1] ?? ''
    try {
      const headers = /** @type {Record<string, string>} */ (request.headers)
      const { type, data } = /** @type {import('./told.mjs').Told} */ (new Webhook(SECRET).verify(body, headers))
      this.told.push({ id, job, type, data })
    } catch (error) {
      this.broken.push(`${request.url} was told with ${error}: ${body.slice(0, 200)}`)
    }
  }

  async stop() {
    for (const server of this.servers) {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
}
