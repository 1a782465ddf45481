import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const NONE: ReadonlySet<ServerResponse> = new Set()

/**
 * Limits the total number of connections of one or more HTTP servers. At the limit, a new connection replaces the one
 * that has been idle longest, so a flood of silent connections locks nobody out. If all are busy, it closes the new one.
 *
 * A connection is busy from the complete headers of a request until its last response closes. A client that sends
 * headers slowly is idle.
 */
export class Connections {
  /** Closed connections: `idle` ones replaced by newer ones, and new ones closed because all were busy (`full`). */
  readonly closed = { idle: 0, full: 0 }
  readonly limit: number
  /** A Set keeps insertion order, so the connection idle longest comes first. */
  readonly #idle = new Set<Socket>()
  /** Busy connections, each with its pending responses. */
  readonly #busy = new Map<Socket, Set<ServerResponse>>()

  /** @param limit most connections at a time, at least 1 */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Counts and limits the connections of a server from now on. */
  watch(server: Server): void {
    server.on('connection', (socket: Socket) => this.#open(socket))
    // Run before the server's own listener, which may answer synchronously.
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

  /** The pending responses of a connection, in order. */
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
    // 'close' is emitted later, but the slot is needed now.
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
      // A pipelined response may close after its connection, which is already forgotten then.
      if (due.size > 0 || !this.#busy.delete(socket) || socket.destroyed) return
      this.#idle.add(socket)
    })
  }
}
