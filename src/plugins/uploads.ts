import type { FastifyContextConfig } from 'fastify'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'
import type { Hold, MemoryBudget } from '../memory.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Most bytes of its body that the route keeps in memory; without it, all of it. */
    keepsBytes?: number
  }
  interface FastifyRequest {
    /** What the body is counted as in the memory budget; null before it comes, and where there is none. */
    upload: Hold | null
  }
}

/** A body of this size is always let in: there are no more of them than connections. */
const SMALL_BYTES = 4096

/** `Retry-After` when the bodies of others take all the room: a body has RECEIVE_TIMEOUT to come, and mostly takes far less. */
const RETRY_SECONDS = 2

/**
 * Counts request bodies in the memory budget, from their headers on, for as long as the request lasts. A body without a
 * declared length counts as the longest that its route takes; whoever has read it says how long it was.
 */
export const uploadsPlugin = fp<{ memory: MemoryBudget }>(
  async (app, { memory }) => {
    app.decorateRequest('upload', null)
    app.addHook('preParsing', async (request, reply, payload) => {
      const { 'content-length': declared, 'transfer-encoding': encoding } = request.headers
      if (declared === undefined && encoding === undefined) return payload
      const bytes = bytesOf(declared, request.routeOptions.bodyLimit, request.routeOptions.config)
      const hold = bytes <= SMALL_BYTES ? memory.hold('uploads', bytes) : memory.tryHold('uploads', bytes)
      if (hold === undefined)
        throw new EaselError('MEMORY_FULL', 'the bodies of other requests take all the memory that there is for them', {
          retryAfter: RETRY_SECONDS
        })
      request.upload = hold
      // A request may have been closed while earlier hooks waited.
      if (reply.raw.destroyed) hold.release()
      else reply.raw.once('close', () => hold.release())
      return payload
    })
  },
  { name: 'uploads' }
)

function bytesOf(declared: string | undefined, limit: number, { keepsBytes = limit }: FastifyContextConfig): number {
  return Math.min(declared === undefined ? limit : Number(declared), limit, keepsBytes)
}
