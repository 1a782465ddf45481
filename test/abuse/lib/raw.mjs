// @ts-check
// Clients without manners: they send as much as they like, and read as little.
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** As much of an answer is kept as its head and an error's body take, in bytes. */
const MOST = 65_536
/** How an answer ends that does not say its length. */
const LAST_CHUNK = '0\r\n\r\n'
const PIECE = Buffer.alloc(2 ** 20, 0x20)

/** A connection that is written to as it pleases, and that reads only when it is told to. */
export class RawClient {
  /** Bytes that came. */
  received = 0
  /** How they begin. */
  start = Buffer.alloc(0)
  /** The last of them, as far as it matters. */
  #end = ''
  /** Whether the connection is gone, by whomever. */
  isClosed = false
  /** When it went, on the clock of `performance`. @type {number | undefined} */
  closedAt

  /**
   * @param {number} port
   * @param {{ reads?: boolean }} [options] reads: at once; otherwise from `read` on
   */
  constructor(port, { reads = false } = {}) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    /** Settles when the connection is gone. */
    this.closed = new Promise((resolve) => this.socket.once('close', resolve))
    // To be shown the door is what such a client is there for.
    this.socket.on('error', () => undefined)
    this.socket.once('end', () => this.socket.end())
    this.socket.once('close', () => {
      this.isClosed = true
      this.closedAt = performance.now()
    })
    if (reads) this.read()
    else this.socket.pause()
  }

  /** The answer's status; 0 as long as none came. */
  get status() {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.start.toString('latin1'))?.[1] ?? 0)
  }

  /** Whether all of an answer has come. */
  get whole() {
    const text = this.start.toString('latin1')
    const head = text.indexOf('\r\n\r\n')
    const length = /^content-length: (\d+)/im.exec(text.slice(0, head))?.[1]
    if (head === -1) return false
    return length === undefined ? this.#end === LAST_CHUNK : this.received >= head + 4 + Number(length)
  }

  read() {
    this.socket.on('data', (chunk) => {
      this.#end = (this.#end + chunk.toString('latin1', Math.max(0, chunk.length - LAST_CHUNK.length))).slice(
        -LAST_CHUNK.length
      )
      if (this.start.length < MOST)
        this.start = Buffer.concat([this.start, chunk.subarray(0, MOST - this.start.length)])
      this.received += chunk.length
    })
    this.socket.resume()
  }

  /** Reads the answer's first bytes and no more; resolves when they are there, or when none come. @param {number} most ms */
  async readStart(most) {
    const first = new Promise((resolve) =>
      this.socket.once('data', (chunk) => {
        this.socket.pause()
        this.start = chunk.subarray(0, MOST)
        this.#end = chunk.toString('latin1', Math.max(0, chunk.length - LAST_CHUNK.length))
        this.received += chunk.length
        resolve(undefined)
      })
    )
    this.socket.resume()
    await Promise.race([first, this.closed, sleep(most, undefined, { ref: false })])
  }

  /** Reads what is left; resolves when it is all there, the connection is gone, or nothing comes for so many ms. @param {number} quiet */
  async drain(quiet) {
    this.read()
    for (let before = -1; !this.isClosed && !this.whole && this.received !== before;) {
      before = this.received
      await Promise.race([this.closed, sleep(quiet)])
    }
  }

  /** Writes bytes; resolves when they are with the kernel, or the connection is gone. @param {string | Uint8Array} data */
  write(data) {
    return Promise.race([this.closed, new Promise((resolve) => void this.socket.write(data, () => resolve(undefined)))])
  }

  /** Writes so many bytes of nothing in particular. @param {number} count */
  async fill(count) {
    for (let left = count; left > 0 && !this.isClosed; left -= PIECE.length)
      await this.write(left < PIECE.length ? PIECE.subarray(0, left) : PIECE)
  }

  leave() {
    this.socket.destroy()
    return this.closed
  }
}

/**
 * A request as bytes, its body left out.
 *
 * @param {string} path
 * @param {Record<string, string | number>} headers
 * @param {string} [method]
 */
export function head(path, headers, method = 'POST') {
  return [
    `${method} ${path} HTTP/1.1`,
    'host: x',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    '',
    ''
  ].join('\r\n')
}

/**
 * POST /generate as bytes.
 *
 * @param {object} body
 * @param {Record<string, string>} [headers]
 */
export function generateBytes(body, headers = {}) {
  const text = JSON.stringify(body)
  return (
    head('/generate', { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers }) +
    text
  )
}

/**
 * Connections that are opened and say nothing. Resolves when each is open, or refused.
 *
 * @param {number} port
 * @param {number} count
 */
export async function idle(port, count) {
  /** @type {RawClient[]} */
  const clients = []
  while (clients.length < count) {
    const some = Array.from(
      { length: Math.min(200, count - clients.length) },
      () => new RawClient(port, { reads: true })
    )
    clients.push(...some)
    await Promise.all(
      some.map(({ socket, closed }) =>
        Promise.race([closed, new Promise((resolve) => socket.once('connect', resolve)), sleep(2000)])
      )
    )
  }
  return clients
}

/** @param {readonly RawClient[]} clients */
export async function leaveAll(clients) {
  await Promise.all(clients.map((client) => client.leave()))
}
