import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'

/** As Node looks for it. */
const CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i

/** For a client of a server that goes away: about the time of a restart. */
const RETRY_AFTER_SECONDS = 5

/**
 * What Node and Fastify would otherwise refuse in forms of their own, with no body or without an id: a request without its one
 * Host, an expectation that nobody meets, a request on a connection of a server that is closing.
 */
export const httpRulesPlugin = fp(
  async (app) => {
    let closing = false
    app.addHook('preClose', async () => {
      closing = true
    })
    app.addHook('onRequest', async ({ raw }, reply) => {
      const refusal =
        refusalOf(raw) ??
        (closing ? new EaselError('DRAINING', undefined, { retryAfter: RETRY_AFTER_SECONDS }) : undefined)
      if (refusal === undefined) return
      reply.header('connection', 'close')
      throw refusal
    })
  },
  { name: 'http-rules' }
)

/** HTTP/1.0 has neither rule. */
function refusalOf({ httpVersion, headers, rawHeaders }: IncomingMessage): EaselError | undefined {
  if (httpVersion !== '1.1') return undefined
  // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
  if (headers.host === undefined)
    return new EaselError('INVALID_REQUEST', 'An HTTP/1.1 request must have the header Host', { field: 'host' })
  if (hostsIn(rawHeaders) > 1)
    return new EaselError('INVALID_REQUEST', 'A request must have the header Host only once', { field: 'host' })
  // https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
  const { expect } = headers
  return expect === undefined || CONTINUE.test(expect)
    ? undefined
    : new EaselError('EXPECTATION_FAILED', 'Expect may only be 100-continue', { field: 'expect' })
}

/** @param rawHeaders names and values in turn */
function hostsIn(rawHeaders: readonly string[]): number {
  return rawHeaders.filter((name, index) => index % 2 === 0 && name.length === 4 && name.toLowerCase() === 'host')
    .length
}
