import type { Socket } from 'node:net'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyInstance } from 'fastify'
import type { Connections } from '../connections.js'
import type { ErrorCode } from '../errors.js'
import { lingerAfterEarlyAnswers } from '../lingering.js'
import { cutSlowReaders } from '../slow-readers.js'
import { answerClientError, refuseTunnel } from './client-errors.js'
import { connectionAgePlugin } from './connection-age.js'
import { answerError, errorFormOf, errorsPlugin } from './errors.js'
import { fairTurnsPlugin } from './fair-turns.js'
import { httpRulesPlugin } from './http-rules.js'
import { requestIdOf, requestIdPlugin } from './request-id.js'
import { sharedSerializers } from './serializers.js'
import { requestLogPlugin } from './request-log.js'

export interface BaseOptions {
  log: FastifyBaseLogger
  /** bytes */
  bodyLimit: number
  /** ms for a client to send its whole request */
  receiveTimeout: number
  /** ms for which an idle connection stays open */
  keepAliveTimeout: number
  /** ms after which a connection ends with its next answer */
  connectionMaxAge: number
  /** ms within which a client must read a minimum of its answer (`cutSlowReaders`) */
  sendTimeout: number
  /** Called for each client cut off because it does not read. */
  onSlowReader?: () => void
  /** Called for each refused request. */
  onRefused?: (code: ErrorCode) => void
  logPrompts: boolean
  connections: Connections
}

/** How long the application may take to build, in ms. Fastify allows 10 s. */
const START_MS = 120_000

/** The base of every HTTP application here: limits, request ids, logs and errors, without routes. */
export async function createBase({
  log,
  bodyLimit,
  receiveTimeout,
  keepAliveTimeout,
  connectionMaxAge,
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
    // Limits only how long a client may take to send its request. The service limits the time to answer.
    requestTimeout: receiveTimeout,
    keepAliveTimeout,
    http: {
      // Node allows a request the longer of headersTimeout and requestTimeout, and by default checks every 30 s.
      headersTimeout: receiveTimeout,
      connectionsCheckingInterval: Math.ceil(receiveTimeout / 4),
      // httpRulesPlugin requires it, with an error in our form.
      requireHostHeader: false
    },
    forceCloseConnections: 'idle',
    // httpRulesPlugin answers 503 in our form.
    return503OnClosing: false,
    clientErrorHandler: (error, socket) =>
      answerClientError(error, socket, { due: connections.due(socket), onRefused }),
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply, errorFormOf(app, request.url)),
    // Longer than the 128 characters of a request id, so that the schema, not the router, rejects a longer one.
    routerOptions: { maxParamLength: 1024, ignoreTrailingSlash: true },
    schemaController: { compilersFactory: { buildSerializer: sharedSerializers() } },
    // Compiling all schemas takes seconds, and a busy machine many times as long.
    pluginTimeout: START_MS,
    // Strict: reject "7" for a number, and unknown fields, which are usually typos.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false, allErrors: false } }
  })
  const { server } = app
  connections.watch(server)
  lingerAfterEarlyAnswers(server)
  cutSlowReaders(server, sendTimeout, (remote) => {
    log.info({ remote }, 'cut off a client that does not read its answer (SEND_TIMEOUT)')
    onSlowReader?.()
  })
  // Node would answer an unsupported `Expect` with an empty 417. Pass it on for httpRulesPlugin to refuse.
  server.on('checkExpectation', (request, response) => void server.emit('request', request, response))
  server.on('connect', (_request, socket) => refuseTunnel(socket as Socket))
  // Fastify parses text/plain by default. Without the parser, every type that a route does not name gets 415.
  app.removeContentTypeParser('text/plain')
  await app.register(fairTurnsPlugin)
  await app.register(connectionAgePlugin, { connections, connectionMaxAge })
  await app.register(requestIdPlugin)
  await app.register(requestLogPlugin, { logPrompts })
  await app.register(errorsPlugin, { onRefused })
  await app.register(httpRulesPlugin)
  return app
}
