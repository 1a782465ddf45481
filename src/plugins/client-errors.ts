import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { ConnectionError } from 'fastify'
import { EaselError, type ErrorCode, errorBody } from '../errors.js'

/** Codes of Node's HTTP parser and its clocks. All others are bytes that are no HTTP. */
const NODE_CODES: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE'
}

/** Answers in the one form of errors what never becomes a request: no HTTP, too large headers, too slow a client. */
export function answerClientError(error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const refusal = new EaselError(NODE_CODES[error.code] ?? 'INVALID_REQUEST', NODE_CODES[error.code] === undefined ? 'The bytes are no HTTP request.' : undefined)
  const body = JSON.stringify(errorBody(refusal, randomUUID()))
  const head = [
    `HTTP/1.1 ${refusal.statusCode} ${STATUS_CODES[refusal.statusCode]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close'
  ]
  if (socket.writable) socket.write(`${head.join('\r\n')}\r\n\r\n${body}`)
  socket.destroy(error)
}
