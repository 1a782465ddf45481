import { randomUUID } from 'node:crypto'
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError } from 'fastify'
import { EaselError, type ErrorCode, errorBody } from '../errors.js'

/** Codes of Node's HTTP parser and its clocks. All others are bytes that are no HTTP. */
const NODE_CODES: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE'
}

/**
 * Answers in the one form of errors what never becomes a whole request: no HTTP, too large headers, too slow a client. Closes the connection.
 *
 * @param due the responses that the connection waits for; onRefused is told the code of what is answered
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
      code === undefined ? 'The bytes are no HTTP request.' : undefined
    )
    onRefused(refusal.code)
    socket.write(rawAnswer(refusal))
  }
  socket.destroy(error)
}

/** Answers CONNECT, which Node hands over as a bare socket. Closes the connection. */
export function refuseTunnel(socket: Socket): void {
  socket.on('error', () => undefined)
  if (socket.writable)
    socket.write(rawAnswer(new EaselError('INVALID_REQUEST', 'This server is no proxy: it opens no tunnels.')))
  socket.destroy()
}

/**
 * Where an earlier request still waits, its client would read this answer as that request's, or as a part of its body. The one
 * that has not come whole is the one that the error is about.
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
