import type { IncomingHttpHeaders } from 'node:http'
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import { Agent } from 'undici'
import { boundedBody } from '../bounded-body.js'
import { EaselError } from '../errors.js'
import { limitWithPictures } from '../uploads/limit.js'
import type { WebOptions } from './web-options.js'

type Upstream = Pick<WebOptions, 'serverUrl' | 'apiKey' | 'bodyLimit' | 'pictureLimit' | 'maxRequests'>

/** The gateway's own limit: enough for a PNG of the largest size. */
const MAX_FILE_BYTES = 64 * 1024 * 1024

/** The only gateway routes that visitors can reach through this process. */
const ROUTES = [
  { method: 'GET', url: '/health' },
  { method: 'HEAD', url: '/health' },
  { method: 'POST', url: '/generate', pictures: true },
  { method: 'POST', url: '/tokenize' },
  { method: 'GET', url: '/loras' },
  { method: 'GET', url: '/controls' },
  { method: 'POST', url: '/controls/preview', pictures: true },
  { method: 'GET', url: '/ip-adapters' },
  { method: 'POST', url: '/recipe', limit: MAX_FILE_BYTES },
  { method: 'DELETE', url: '/requests/:id' }
] as const

/**
 * Short requests allowed beyond `maxRequests`, so that visitors can still check the status and cancel when it is full.
 */
export const SHORT_REQUESTS = 32

const REQUEST_HEADERS = [
  'accept',
  'authorization',
  'content-encoding',
  'content-length',
  'content-type',
  'idempotency-key',
  'last-event-id',
  'traceparent',
  'x-request-timeout'
]

/** Response headers to drop: links to gateway pages that this process does not serve. */
const NOT_PASSED = new Set(['link'])

/** Headers about a single connection, not to be forwarded. @see https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade'
])

const CONNECT_TIMEOUT_MS = 5000

/** ms for the gateway to start answering a short request. */
const SHORT_TIMEOUT_MS = 10_000

const RETRY_AFTER_SECONDS = 5

/** Forwards the page's requests to the gateway. Streams bodies both ways and propagates a visitor's disconnection. */
export const forwardPlugin: FastifyPluginAsync<Upstream> = async (app, upstream) => {
  const { bodyLimit, pictureLimit, maxRequests } = upstream
  // No timeouts here: the gateway ends every request at its deadline.
  const agent = new Agent({
    connect: { timeout: CONNECT_TIMEOUT_MS },
    connections: maxRequests + SHORT_REQUESTS,
    headersTimeout: 0,
    bodyTimeout: 0
  })
  app.addHook('onClose', async () => agent.destroy())

  // Forward bodies unparsed.
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, body, done) => done(null, body))

  let underWay = 0
  app.addHook('onRequest', async ({ method }, { raw }) => {
    if (underWay >= maxRequests + (method === 'POST' ? 0 : SHORT_REQUESTS)) {
      throw new EaselError('QUEUE_FULL', `${underWay} requests are already in flight; retry later`, {
        retryAfter: RETRY_AFTER_SECONDS
      })
    }
    underWay++
    raw.once('close', () => underWay--)
  })

  for (const { method, url, ...own } of ROUTES) {
    const { limit, pictures } = { limit: bodyLimit, pictures: false, ...own }
    app.route({
      method,
      url,
      exposeHeadRoute: false,
      handler: (request, reply) =>
        forward({ upstream, agent, limit: pictures ? limitWithPictures(limit, pictureLimit) : limit }, request, reply)
    })
  }
}

async function forward(
  { upstream, agent, limit }: { upstream: Upstream; agent: Agent; limit: number },
  request: FastifyRequest,
  reply: FastifyReply
): Promise<FastifyReply> {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  try {
    const answer = await agent.request({
      origin: upstream.serverUrl.origin,
      // Unmodified, so that the gateway parses the same path that matched the route here.
      path: upstream.serverUrl.pathname.replace(/\/$/, '') + request.url,
      method: request.method as 'GET',
      headers: requestHeaders(request, upstream.apiKey),
      headersTimeout: request.method === 'POST' ? 0 : SHORT_TIMEOUT_MS,
      body: (request.body as NodeJS.ReadableStream | undefined) === undefined ? null : boundedBody(request.raw, limit),
      signal: gone.signal
    })
    return reply.code(answer.statusCode).headers(endToEnd(answer.headers)).send(answer.body)
  } catch (error) {
    if (gone.signal.aborted) throw new EaselError('CANCELLED')
    if (error instanceof EaselError) {
      // Do not wait for the rest of the body.
      reply.header('connection', 'close')
      throw error
    }
    request.log.warn({ err: error }, `cannot reach ${upstream.serverUrl.origin}`)
    throw new EaselError('NOT_READY', 'The image service cannot be reached right now; retry later', {
      retryAfter: RETRY_AFTER_SECONDS,
      cause: error
    })
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
  const passed = Object.entries(headers).filter(
    (entry): entry is [string, string | string[]] =>
      entry[1] !== undefined && !HOP_BY_HOP.has(entry[0]) && !NOT_PASSED.has(entry[0])
  )
  return { ...Object.fromEntries(passed), 'x-content-type-options': 'nosniff' }
}
