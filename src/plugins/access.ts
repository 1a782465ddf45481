import rateLimit from '@fastify/rate-limit'
import type { FastifyRequest, onRequestAsyncHookHandler } from 'fastify'
import fp from 'fastify-plugin'
import type { KeyFile } from '../access/key-file.js'
import type { AccessKey } from '../access/keys.js'
import { EaselError } from '../errors.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** The key that the request came with; null where none is asked for. */
    access: AccessKey | null
  }
  interface FastifyInstance {
    /** The `onRequest` hook of routes that count towards a key's requests per minute: one count for all of them. */
    countRequest: onRequestAsyncHookHandler
  }
}

const BEARER = /^Bearer +(\S+) *$/i

/** Asks every request of the scope for a bearer key, and holds each key to its rate. Does nothing where there are no keys. */
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
          token === undefined ? 'This server wants a key: send Authorization: Bearer <key>' : 'The key is not known'
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
        new EaselError('RATE_LIMITED', `${access!.name} may ask ${access!.requestsPerMinute} times a minute`, {
          retryAfter: Math.max(1, Math.ceil(ttl / 1000))
        })
    })
    app.decorate('countRequest', app.rateLimit())
  },
  { name: 'access' }
)
