import type { IncomingMessage } from 'node:http'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'

/** The expression that Node uses. */
const CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i

/** Retry-After from a server that is closing: about the time of a restart. */
const RETRY_AFTER_SECONDS = 5

/**
 * Refuses, in our error form, what Node and Fastify would refuse without a body or request id: a missing or repeated
 * Host, an unsupported Expect, and requests on kept-alive connections while the server closes.
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

/** The rules apply to HTTP/1.1 only. */
function refusalOf({ httpVersion, headers, rawHeaders }: IncomingMessage): EaselError | undefined {
  if (httpVersion !== '1.1') return undefined
  // https://www.rfc-editor.org/rfc/rfc9112#section-3.2
  if (headers.host === undefined)
    return new EaselError('INVALID_REQUEST', 'An HTTP/1.1 request must have a Host header', { field: 'host' })
  if (hostsIn(rawHeaders) > 1)
    return new EaselError('INVALID_REQUEST', 'A request must have only one Host header', { field: 'host' })
  // https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
  const { expect } = headers
  return expect === undefined || CONTINUE.test(expect)
    ? undefined
    : new EaselError('EXPECTATION_FAILED', 'Expect may only be 100-continue', { field: 'expect' })
}

/** @param rawHeaders alternating names and values */
function hostsIn(rawHeaders: readonly string[]): number {
  return rawHeaders.filter((name, index) => index % 2 === 0 && name.length === 4 && name.toLowerCase() === 'host')
    .length
}
