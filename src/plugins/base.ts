import type { Socket } from 'node:net'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { Connections } from '../connections.js'
import type { ErrorCode } from '../errors.js'
import { lingerAfterEarlyAnswers } from '../lingering.js'
import { cutSlowReaders } from '../slow-readers.js'
import { answerClientError, refuseTunnel } from './client-errors.js'
import { answerError, errorFormOf, errorsPlugin } from './errors.js'
import { fairTurnsPlugin } from './fair-turns.js'
import { httpRulesPlugin } from './http-rules.js'
import { requestIdOf, requestIdPlugin } from './request-id.js'
import { requestLogPlugin } from './request-log.js'

export interface BaseOptions {
  log: FastifyBaseLogger
  /** bytes */
  bodyLimit: number
  /** ms that a client has to send its request */
  receiveTimeout: number
  /** ms that a connection stays open without a request */
  keepAliveTimeout: number
  /** ms in which a client must read a part of its answer (`cutSlowReaders`) */
  sendTimeout: number
  /** Is told of each client that is cut off because it does not read. */
  onSlowReader?: () => void
  /** Is told of each request that is refused. */
  onRefused?: (code: ErrorCode) => void
  logPrompts: boolean
  connections: Connections
}

/** What all our HTTP applications have in common: limits, ids, logs, errors. It has no routes. */
export async function createBase({
  log,
  bodyLimit,
  receiveTimeout,
  keepAliveTimeout,
  sendTimeout,
  onSlowReader,
  onRefused = () => undefined,
  logPrompts,
  connections
}: BaseOptions): Promise<FastifyInstance> {
  const app = Fastify({
    loggerInstance: log,
    bodyLimit,
    genReqId: requestIdOf,
    logController: new LogController({ requestIdLogLabel: 'requestId', disableRequestLogging: true }),
    // A client has this long to send its request; how long an answer may take is the service's to say.
    requestTimeout: receiveTimeout,
    keepAliveTimeout,
    http: {
      // Node takes the longer one of these two for the whole request, and looks every 30 s by default.
      headersTimeout: receiveTimeout,
      connectionsCheckingInterval: Math.ceil(receiveTimeout / 4),
      // httpRulesPlugin asks for it.
      requireHostHeader: false
    },
    forceCloseConnections: 'idle',
    // httpRulesPlugin does it.
    return503OnClosing: false,
    clientErrorHandler: (error, socket) =>
      answerClientError(error, socket, { due: connections.due(socket), onRefused }),
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply, errorFormOf(app, request.url)),
    // A request's id is at most 128 characters; a longer one is told so by the schema.
    routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true },
    // Strict: "7" is no number, and an unknown field is a mistake that the client wants to hear about.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } }
  })
  const { server } = app
  connections.watch(server)
  lingerAfterEarlyAnswers(server)
  cutSlowReaders(server, sendTimeout, (remote) => {
    log.info({ remote }, 'cut off a client that does not read its answer (SEND_TIMEOUT)')
    onSlowReader?.()
  })
  // An expectation other than 100-continue, which Node would refuse without a body; httpRulesPlugin refuses it.
  server.on('checkExpectation', (request, response) => void server.emit('request', request, response))
  server.on('connect', (_request, socket) => refuseTunnel(socket as Socket))
  // Of Fastify's two own parsers, so that a body of any type that a route does not name is answered 415.
  app.removeContentTypeParser('text/plain')
  await app.register(fairTurnsPlugin)
  await app.register(requestIdPlugin)
  await app.register(requestLogPlugin, { logPrompts })
  await app.register(errorsPlugin, { onRefused })
  await app.register(httpRulesPlugin)
  return app
}
