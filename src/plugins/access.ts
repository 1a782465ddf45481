import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { KeyFile } from '../access/key-file.js'
import type { AccessKey } from '../access/keys.js'
import { EaselError } from '../errors.js'
import { sharedRates } from '../jobs/rates.js'
import type { SharedState } from '../jobs/shared.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The request's access key; null when the server requires no keys. */
    access: AccessKey | null
  }
  interface FastifyInstance {
    /** The `onRequest` hook of routes that count towards a key's requests per minute. All routes share one count. */
    countRequest: onRequestAsyncHookHandler
  }
}

const BEARER = /^Bearer +(\S+) *$/i
const BASIC = /^Basic +([A-Za-z0-9+/]+=*) *$/i

export interface AccessOptions {
  keys: KeyFile | undefined
  /** The start of the paths that also take a key as the password of Basic authentication, with any user. */
  passwordsUnder: string
  /** What several gateways know together; undefined for one that counts alone. */
  shared: SharedState | undefined
}

/** Requires a key on every request of the scope and enforces each key's rate. Does nothing without keys. */
export const accessPlugin = fp<AccessOptions>(
  async (app, { keys, passwordsUnder, shared }) => {
    app.decorateRequest('access', null)
    if (keys === undefined) {
      app.decorate('countRequest', async () => undefined)
      return
    }

    app.addHook('onRequest', async (request, reply) => {
      const takesPassword = request.url.startsWith(passwordsUnder)
      const { authorization = '' } = request.headers
      const token = BEARER.exec(authorization)?.[1] ?? (takesPassword ? passwordOf(authorization) : undefined)
      const key = token === undefined ? undefined : keys.find(token)
      if (key === undefined) {
        reply.header('www-authenticate', takesPassword ? 'Bearer, Basic realm="easel"' : 'Bearer')
        throw new EaselError(
          'UNAUTHORIZED',
          token === undefined
            ? `This server requires a key: send the header Authorization: Bearer <key>${takesPassword ? ', or the key as the password of Basic authentication' : ''}`
            : `The ${takesPassword ? '' : 'bearer '}key is unknown: ask the operator for a valid one`
        )
      }
      request.access = key
      request.log = request.log.child({ key: key.name })
    })

    await app.register(rateLimit, {
      global: false,
      timeWindow: '1 minute',
      ...(shared === undefined ? {} : { store: sharedRates(shared) }),
      keyGenerator: ({ access }) => access!.name,
      allowList: ({ access }) => access?.requestsPerMinute === undefined,
      max: ({ access }: FastifyRequest) => access!.requestsPerMinute!,
      errorResponseBuilder: ({ access }, { ttl }) =>
        new EaselError('RATE_LIMITED', `${access!.name} may send ${access!.requestsPerMinute} requests a minute`, {
          retryAfter: Math.max(1, Math.ceil(ttl / 1000))
        })
    })
    app.decorate('countRequest', app.rateLimit())
  },
  { name: 'access' }
)

/** The password of Basic authentication. @see https://www.rfc-editor.org/rfc/rfc7617#section-2 */
function passwordOf(authorization: string): string | undefined {
  const encoded = BASIC.exec(authorization)?.[1]
  if (encoded === undefined) return undefined
  const pair = Buffer.from(encoded, 'base64').toString()
  const colon = pair.indexOf(':')
  return colon === -1 ? undefined : pair.slice(colon + 1)
}
