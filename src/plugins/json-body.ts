import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'

/** The value of a charset parameter. */
const CHARSET = /;\s*charset\s*=\s*"?([^\s";]*)/i
const UTF_8 = /^utf-?8$/i

/** With a wrong byte it throws, where Node's own decoding puts U+FFFD in its place: that would be another prompt. */
const utf8 = () => new TextDecoder('utf-8', { fatal: true })

/**
 * Reads JSON bodies strictly: UTF-8 and nothing else, not compressed. `__proto__` and `constructor.prototype` in a body are
 * refused, as Fastify's own parser does.
 */
export const jsonBodyPlugin = fp(
  async (app) => {
    app.addHook('preParsing', async ({ headers }, reply, payload) => {
      const encoding = headers['content-encoding']
      if (encoding === undefined || encoding.trim().toLowerCase() === 'identity') return payload
      reply.header('accept-encoding', 'identity')
      throw new EaselError(
        'UNSUPPORTED_MEDIA_TYPE',
        'content-encoding must be identity: send the body as it is, not compressed',
        { field: 'content-encoding' }
      )
    })

    const parseText = app.getDefaultJsonParser('error', 'error')
    app.removeContentTypeParser('application/json')
    app.addContentTypeParser<Buffer>('application/json', { parseAs: 'buffer' }, (request, body, done) => {
      // A client that has left holds nothing any more.
      if (!request.raw.destroyed) request.upload?.resize(body.length)
      let text
      try {
        text = decode(request, body)
      } catch (error) {
        done(error as Error)
        return
      }
      // Its return value is for parsers that are async functions.
      void parseText(request, text, done)
    })
  },
  { name: 'json-body' }
)

function decode({ headers }: FastifyRequest, body: Buffer): string {
  const charset = CHARSET.exec(headers['content-type'] ?? '')?.[1]
  if (charset !== undefined && !UTF_8.test(charset))
    throw new EaselError('UNSUPPORTED_MEDIA_TYPE', 'JSON must be UTF-8: send application/json with no other charset', {
      field: 'content-type'
    })
  if (body.length === 0) throw new EaselError('INVALID_REQUEST', 'the body is empty; it must be a JSON object')
  try {
    return utf8().decode(body)
  } catch (cause) {
    throw new EaselError('INVALID_REQUEST', 'the body is not UTF-8: encode its text as UTF-8', { cause })
  }
}
