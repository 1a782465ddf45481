import type { FastifyContextConfig } from 'fastify'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'
import type { Hold, MemoryBudget } from '../memory.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Maximum bytes of its body that the route keeps in memory. Default: the whole body. */
    keepsBytes?: number
  }
  interface FastifyRequest {
    /** The body's share of the memory budget; null before its headers are parsed and for requests without a body. */
    upload: Hold | null
  }
}

/** Bodies up to this size are always accepted: the connection limit bounds their total. */
const SMALL_BYTES = 4096

/** `Retry-After` when other bodies fill the budget. A body may take RECEIVE_TIMEOUT, but most take far less. */
const RETRY_SECONDS = 2

/**
 * Counts request bodies in the memory budget, from their headers until the request ends. A body of undeclared length
 * counts as the longest that its route accepts; the parser corrects this with `upload.resize` once it has read the
 * body.
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
        throw new EaselError('MEMORY_FULL', 'other request bodies fill the memory reserved for uploads', {
          retryAfter: RETRY_SECONDS
        })
      request.upload = hold
      // The client may have disconnected while earlier hooks waited.
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
