import type { FastifyReply } from 'fastify'
import { EaselError } from '../../errors.js'
import type { MemoryBudget } from '../../memory.js'
import { MEMORY_RETRY_SECONDS } from '../../service/failures.js'

/** Holds memory for what a client reads, until it has read it or left. @throws EaselError MEMORY_FULL */
export function holdFor(memory: MemoryBudget, reply: FastifyReply, bytes: number): void {
  const hold = memory.tryHold('answers', bytes)
  if (hold === undefined) throw new EaselError('MEMORY_FULL', undefined, { retryAfter: MEMORY_RETRY_SECONDS })
  reply.raw.once('close', () => hold.release())
  if (reply.raw.destroyed) hold.release()
}

/** Fires when the client has left, or has all of its answer. */
export function leftBy({ raw }: FastifyReply): AbortSignal {
  const left = new AbortController()
  raw.once('close', () => left.abort())
  if (raw.destroyed) left.abort()
  return left.signal
}
