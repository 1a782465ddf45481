import { randomUUID } from 'node:crypto'
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError } from 'fastify'
import { EaselError, type ErrorCode, errorBody } from '../errors.js'

/** Node's parser and timeout errors. Any other code means bytes that are not HTTP. */
const NODE_CODES: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE'
}

/**
 * Answers what never becomes a whole request (not HTTP, oversized headers, a slow client) with an error in our form,
 * and closes the connection.
 *
 * @param due the responses still pending on the connection; onRefused is called with the code of the answer
 */
export function answerClientError(
  error: ConnectionError,
  socket: Socket,
  { due, onRefused }: { due: ReadonlySet<ServerResponse>; onRefused: (code: ErrorCode) => void }
): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  if (socket.writable && canAnswer(due)) {
    const code = NODE_CODES[error.code]
    const refusal = new EaselError(
      code ?? 'INVALID_REQUEST',
      code === undefined ? 'The bytes are not an HTTP request.' : undefined
    )
    onRefused(refusal.code)
    socket.write(rawAnswer(refusal))
  }
  socket.destroy(error)
}

/** Refuses CONNECT, which Node hands over as a bare socket, and closes the connection. */
export function refuseTunnel(socket: Socket): void {
  socket.on('error', () => undefined)
  if (socket.writable)
    socket.write(rawAnswer(new EaselError('INVALID_REQUEST', 'This server is not a proxy: CONNECT is not supported.')))
  socket.destroy()
}

/**
 * Whether the client would attribute an error written now to the request that caused it. While an earlier request is
 * pending, the client would take the error for that request's answer, or for part of its body. The one safe pending
 * request is one that is itself incomplete: the error is about it.
 */
function canAnswer(due: ReadonlySet<ServerResponse>): boolean {
  const [first] = due
  return first === undefined || (due.size === 1 && !first.headersSent && !first.req.complete)
}

function rawAnswer(refusal: EaselError): string {
  const id = randomUUID()
  const body = JSON.stringify(errorBody(refusal, id))
  const head = [
    `HTTP/1.1 ${refusal.statusCode} ${STATUS_CODES[refusal.statusCode]}`,
    `x-request-id: ${id}`,
    'content-type: application/json; charset=utf-8',
    `content-length: ${Buffer.byteLength(body)}`,
    `date: ${new Date().toUTCString()}`,
    'connection: close'
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`
}
