import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { KeyFile } from '../access/key-file.js'
import type { AccessKey } from '../access/keys.js'
import { EaselError } from '../errors.js'

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

/** Requires a bearer key on every request of the scope and enforces each key's rate. Does nothing without keys. */
export const accessPlugin = fp<{ keys: KeyFile | undefined }>(
  async (app, { keys }) => {
    app.decorateRequest('access', null)
    if (keys === undefined) {
      app.decorate('countRequest', async () => undefined)
      return
    }

    app.addHook('onRequest', async (request, reply) => {
      const token = BEARER.exec(request.headers.authorization ?? '')?.[1]
      const key = token === undefined ? undefined : keys.find(token)
      if (key === undefined) {
        reply.header('www-authenticate', 'Bearer')
        throw new EaselError(
          'UNAUTHORIZED',
          token === undefined
            ? 'This server requires a key: send the header Authorization: Bearer <key>'
            : 'The bearer key is unknown: ask the operator for a valid one'
        )
      }
      request.access = key
      request.log = request.log.child({ key: key.name })
    })

    await app.register(rateLimit, {
      global: false,
      timeWindow: '1 minute',
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
