import net from 'node:net'
import { onTestFinished } from 'vitest'

export interface RawAnswer {
  status: number
  /** By lower-case name. */
  headers: Record<string, string>
  body: Buffer
}

/** A client that writes arbitrary bytes, valid HTTP or not, and parses the answers. */
export class RawClient {
  readonly socket: net.Socket
  /** Resolves when either side has closed the connection. */
  readonly closed: Promise<void>
  #received: Buffer = Buffer.alloc(0)
  #wake: () => void = () => undefined
  #isClosed = false

  /** @param server `url`: http://ADDRESS:PORT */
  constructor(server: { url: string }) {
    const { hostname, port } = new URL(server.url)
    this.socket = net.connect({ port: Number(port), host: hostname, allowHalfOpen: true })
    // The server may reset the connection to refuse it.
    this.socket.on('error', () => undefined)
    this.socket.on('data', (chunk) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    this.socket.on('end', () => this.socket.end())
    this.closed = new Promise((resolve) =>
      this.socket.once('close', () => {
        this.#isClosed = true
        this.#wake()
        resolve()
      })
    )
    onTestFinished(() => void this.socket.destroy())
  }

  /** Writes bytes; resolves when the kernel has taken them or the connection is closed. */
  write(data: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => void this.socket.write(data, () => resolve()))
  }

  /** The next complete answer; undefined if the connection closes first. */
  async answer(): Promise<RawAnswer | undefined> {
    for (;;) {
      const taken = takeAnswer(this.#received)
      if (taken !== undefined) {
        this.#received = taken.rest
        if (taken.answer.status !== 100) return taken.answer
        continue
      }
      if (this.#isClosed) return undefined
      await new Promise<void>((resolve) => (this.#wake = resolve))
    }
  }
}

/** Splits the first complete answer off the received bytes. */
function takeAnswer(received: Buffer): { answer: RawAnswer; rest: Buffer } | undefined {
  const end = received.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [first, ...lines] = received.subarray(0, end).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first!)?.[1])
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()])
  )
  const from = end + 4
  const to = from + bodyLength(headers, received.subarray(from))
  return received.length < to
    ? undefined
    : { answer: { status, headers, body: received.subarray(from, to) }, rest: received.subarray(to) }
}

/** Length of a body as sent, including chunk framing. */
function bodyLength(headers: Record<string, string>, received: Buffer): number {
  if (headers['transfer-encoding'] !== 'chunked') return Number(headers['content-length'] ?? 0)
  const end = received.indexOf('0\r\n\r\n')
  return end === -1 ? Infinity : end + 5
}

/** A POST /generate as bytes. */
export function rawGenerate(body: object, headers: readonly string[] = []): string {
  const text = JSON.stringify(body)
  return [
    'POST /generate HTTP/1.1',
    'host: x',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(text)}`,
    ...headers,
    '',
    text
  ].join('\r\n')
}
