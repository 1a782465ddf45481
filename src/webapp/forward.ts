import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Agent } from 'undici'
import { EaselError } from '../errors.js'

interface Upstream {
  serverUrl: URL
  /** Sent in place of the visitor's own key. */
  apiKey?: string | undefined
}

/** All that a visitor can ask of the gateway through this process. */
const ROUTES = [
  ['GET', '/health'],
  ['POST', '/generate'],
  ['POST', '/recipe'],
  ['DELETE', '/requests/:id']
] as const

const REQUEST_HEADERS = ['accept', 'authorization', 'content-length', 'content-type', 'idempotency-key', 'last-event-id', 'traceparent']

/** Those that are about one connection, not about the answer. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'proxy-authenticate', 'te', 'trailer', 'transfer-encoding', 'upgrade'])

const CONNECT_TIMEOUT_MS = 5000
const RETRY_AFTER_SECONDS = 5

/** Forwards the page's requests to the gateway: bodies as they come, answers as they are made, and that a visitor has left. */
export const forwardPlugin: FastifyPluginAsync<Upstream> = async (app, upstream) => {
  // How long an answer may take is the gateway's to say: it ends every request at its deadline.
  const agent = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS }, headersTimeout: 0, bodyTimeout: 0 })
  app.addHook('onClose', async () => agent.destroy())

  // Bodies are not read here, only passed on.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => done(null, body))

  for (const [method, url] of ROUTES) {
    app.route({ method, url, exposeHeadRoute: false, handler: (request, reply) => forward(upstream, agent, request, reply) })
  }
}

async function forward(upstream: Upstream, agent: Agent, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  try {
    const answer = await agent.request({
      origin: upstream.serverUrl.origin,
      // As it came, so that the gateway reads in it what the route here has read.
      path: upstream.serverUrl.pathname.replace(/\/$/, '') + request.url,
      method: request.method as 'GET',
      headers: requestHeaders(request, upstream.apiKey),
      body: (request.body as NodeJS.ReadableStream | undefined) === undefined ? null : request.raw,
      signal: gone.signal
    })
    return reply.code(answer.statusCode).headers(endToEnd(answer.headers)).send(answer.body)
  } catch (error) {
    if (gone.signal.aborted) throw new EaselError('CANCELLED')
    request.log.warn({ err: error }, `cannot reach ${upstream.serverUrl.origin}`)
    throw new EaselError('NOT_READY', 'The image service cannot be reached at the moment', { retryAfter: RETRY_AFTER_SECONDS, cause: error })
  }
}

function requestHeaders(request: FastifyRequest, apiKey: string | undefined): Record<string, string> {
  const headers: Record<string, string> = { 'x-request-id': request.id, 'x-forwarded-for': request.ip }
  for (const name of REQUEST_HEADERS) {
    const value = request.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  if (apiKey !== undefined) headers['authorization'] = `Bearer ${apiKey}`
  return headers
}

function endToEnd(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const passed = Object.entries(headers).filter((entry): entry is [string, string | string[]] => entry[1] !== undefined && !HOP_BY_HOP.has(entry[0]))
  return { ...Object.fromEntries(passed), 'x-content-type-options': 'nosniff' }
}
