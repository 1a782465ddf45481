// @ts-check
// Clients that send arbitrary bytes and read only as much as they want.
import net from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** How much of an answer to keep, in bytes: the head and an error's body. */
const MOST = 65_536
/** The end of an answer without a content-length. */
const LAST_CHUNK = '0\r\n\r\n'
const PIECE = Buffer.alloc(2 ** 20, 0x20)

/** A connection that sends arbitrary bytes and reads only when told to. */
export class RawClient {
  /** The number of received bytes. */
  received = 0
  /** The first received bytes. */
  start = Buffer.alloc(0)
  /** The last received bytes. */
  #end = ''
  /** Whether either side has closed the connection. */
  isClosed = false
  /** When it closed, by `performance.now()`. @type {number | undefined} */
  closedAt

  /**
   * @param {number} port
   * @param {{ reads?: boolean }} [options] reads: read at once instead of from `read` on
   */
  constructor(port, { reads = false } = {}) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    /** Settles when the connection is closed. */
    this.closed = new Promise((resolve) => this.socket.once('close', resolve))
    // The gateway is expected to close such a connection.
    this.socket.on('error', () => undefined)
    this.socket.once('end', () => this.socket.end())
    this.socket.once('close', () => {
      this.isClosed = true
      this.closedAt = performance.now()
    })
    if (reads) this.read()
    else this.socket.pause()
  }

  /** The answer's status; 0 before it arrives. */
  get status() {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.start.toString('latin1'))?.[1] ?? 0)
  }

  /** Whether the answer is complete. */
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

  /** Reads only the answer's first bytes; resolves when they arrive, or after the time limit. @param {number} most ms */
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

  /** Reads the rest; resolves when it is complete, the connection closes, or nothing arrives for `quiet` ms. @param {number} quiet */
  async drain(quiet) {
    this.read()
    for (let before = -1; !this.isClosed && !this.whole && this.received !== before;) {
      before = this.received
      await Promise.race([this.closed, sleep(quiet)])
    }
  }

  /** Writes bytes; resolves when the kernel has taken them or the connection closes. @param {string | Uint8Array} data */
  write(data) {
    return Promise.race([this.closed, new Promise((resolve) => void this.socket.write(data, () => resolve(undefined)))])
  }

  /** Writes `count` filler bytes. @param {number} count */
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
 * Returns a request as bytes, without its body.
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
 * Returns POST /generate as bytes.
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
 * Opens idle connections. Resolves when each is open or refused.
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
