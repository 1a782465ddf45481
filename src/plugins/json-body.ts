import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'
import { settleUpload } from './uploads.js'

declare module 'fastify' {
  interface FastifyInstance {
    /** Parses a JSON body as strictly as the default parser. @throws EaselError or Fastify's own error */
    parseJson: (request: FastifyRequest, body: Buffer) => Promise<unknown>
  }
}

/** The value of a charset parameter. */
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]*)/i
const UTF_8 = /^utf-?8$/i

/** Throws on invalid UTF-8. Node's decoding would substitute U+FFFD and so change the prompt. */
const utf8 = () => new TextDecoder('utf-8', { fatal: true })

/**
 * Reads JSON bodies strictly: only UTF-8, only uncompressed. Like Fastify's own parser, rejects `__proto__` and
 * `constructor.prototype` in a body.
 */
export const jsonBodyPlugin = fp(
  async (app) => {
    app.addHook('preParsing', async ({ headers }, reply, payload) => {
      const encoding = headers['content-encoding']
      if (encoding === undefined || encoding.trim().toLowerCase() === 'identity') return payload
      reply.header('accept-encoding', 'identity')
      throw new EaselError('UNSUPPORTED_MEDIA_TYPE', 'content-encoding must be identity: send the body uncompressed', {
        field: 'content-encoding'
      })
    })

    const parseText = app.getDefaultJsonParser('error', 'error')
    app.decorate('parseJson', async (request: FastifyRequest, body: Buffer) => {
      const text = decode(request, body)
      return new Promise((resolve, reject) => {
        // The result goes to the callback; the return value is for async parsers.
        void parseText(request, text, (error, value) => (error === null ? resolve(value) : reject(error)))
      })
    })
    app.removeContentTypeParser('application/json')
    app.addContentTypeParser<Buffer>(
      'application/json',
      { parseAs: 'buffer' },
      async (request: FastifyRequest, body: Buffer) => {
        settleUpload(request, body.length)
        return app.parseJson(request, body)
      }
    )
  },
  { name: 'json-body' }
)

function decode({ headers }: FastifyRequest, body: Buffer): string {
  const charset = CHARSET.exec(headers['content-type'] ?? '')?.[1]
  if (charset !== undefined && !UTF_8.test(charset))
    throw new EaselError(
      'UNSUPPORTED_MEDIA_TYPE',
      'JSON must be UTF-8: send content-type application/json without another charset',
      {
        field: 'content-type'
      }
    )
  if (body.length === 0) throw new EaselError('INVALID_REQUEST', 'the body is empty: send a JSON object')
  try {
    return utf8().decode(body)
  } catch (cause) {
    throw new EaselError('INVALID_REQUEST', 'the body is not UTF-8: encode its text as UTF-8', { cause })
  }
}
