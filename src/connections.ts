import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const NONE: ReadonlySet<ServerResponse> = new Set()

/**
 * Bounds how many connections HTTP servers hold together. When one more comes, the connection that has been without a request
 * the longest is closed for it, so that a flood of silent ones locks nobody out; only when all are busy is the new one closed.
 *
 * A connection is busy from when a request's headers are there until its last response closes. Half a header is no request.
 */
export class Connections {
  /** Connections that were closed: `idle` ones for a newer one, new ones because all were busy (`full`). */
  readonly closed = { idle: 0, full: 0 }
  readonly limit: number
  /** A Set keeps the order of its additions: the one that has been idle the longest comes first. */
  readonly #idle = new Set<Socket>()
  /** The busy ones, with the responses that each waits for. */
  readonly #busy = new Map<Socket, Set<ServerResponse>>()

  /** @param limit most connections at a time, at least 1 */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Counts and bounds the connections of a server from now on. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => this.#open(socket))
    // Before the server's own listener, which may answer at once.
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) =>
      this.#begin(request.socket, response)
    )
  }

  get idle(): number {
    return this.#idle.size
  }

  get busy(): number {
    return this.#busy.size
  }

  /** The responses that a connection still waits for, in order. */
  due(socket: Socket): ReadonlySet<ServerResponse> {
    return this.#busy.get(socket) ?? NONE
  }

  #open(socket: Socket): void {
    if (this.#idle.size + this.#busy.size >= this.limit && !this.#makeRoom()) {
      this.closed.full++
      socket.destroy()
      return
    }
    this.#idle.add(socket)
    socket.once('close', () => this.#forget(socket))
  }

  #makeRoom(): boolean {
    const [longest] = this.#idle
    if (longest === undefined) return false
    this.closed.idle++
    // Its 'close' comes later, its place is needed now.
    this.#forget(longest)
    longest.destroy()
    return true
  }

  #forget(socket: Socket): void {
    this.#idle.delete(socket)
    this.#busy.delete(socket)
  }

  #begin(socket: Socket, response: ServerResponse): void {
    if (socket.destroyed) return
    this.#idle.delete(socket)
    const due = this.#busy.get(socket) ?? new Set()
    this.#busy.set(socket, due.add(response))
    response.once('close', () => {
      due.delete(response)
      // A response that waited for its turn may close after its connection, of which nothing is known any more.
      if (due.size > 0 || !this.#busy.delete(socket) || socket.destroyed) return
      this.#idle.add(socket)
    })
  }
}
