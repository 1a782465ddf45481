import type { FastifyContextConfig, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { EaselError } from '../errors.js'
import type { Hold, MemoryBudget } from '../memory.js'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Maximum bytes of its body that the route keeps in memory. Default: the whole body. */
    keepsBytes?: number
    /** Whether the parser counts the body as it arrives (`growUpload`), and not its whole length from the start. */
    growingBody?: boolean
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
 * counts as the longest that its route accepts; the parser corrects this with `settleUpload` once it has read the
 * body. Routes with `growingBody` count up to 4 KiB at first.
 */
export const uploadsPlugin = fp<{ memory: MemoryBudget }>(
  async (app, { memory }) => {
    app.decorateRequest('upload', null)
    app.addHook('preParsing', async (request, reply, payload) => {
      const { 'content-length': declared, 'transfer-encoding': encoding } = request.headers
      if (declared === undefined && encoding === undefined) return payload
      const bytes = bytesOf(declared, request.routeOptions.bodyLimit, request.routeOptions.config)
      const hold = bytes <= SMALL_BYTES ? memory.hold('uploads', bytes) : memory.tryHold('uploads', bytes)
      if (hold === undefined) throw memoryFull()
      request.upload = hold
      // The client may have disconnected while earlier hooks waited.
      if (reply.raw.destroyed) hold.release()
      else reply.raw.once('close', () => hold.release())
      return payload
    })
  },
  { name: 'uploads' }
)

function bytesOf(
  declared: string | undefined,
  limit: number,
  { keepsBytes = limit, growingBody = false }: FastifyContextConfig
): number {
  return Math.min(
    declared === undefined ? limit : Number(declared),
    limit,
    keepsBytes,
    growingBody ? SMALL_BYTES : Infinity
  )
}

/**
 * Counts more bytes of a body that is being read; never fewer than before.
 *
 * @param bytes all that the body takes in memory now
 * @throws EaselError MEMORY_FULL
 */
export function growUpload({ upload }: FastifyRequest, bytes: number): void {
  if (bytes > SMALL_BYTES && upload?.tryResize(bytes) === false) throw memoryFull()
}

/** Counts a body that has been read as what it takes now. */
export function settleUpload({ upload }: FastifyRequest, bytes: number): void {
  upload?.resize(bytes)
}

function memoryFull(): EaselError {
  return new EaselError('MEMORY_FULL', 'other request bodies fill the memory reserved for uploads', {
    retryAfter: RETRY_SECONDS
  })
}
