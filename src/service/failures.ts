import { JobError } from '../engine/job.js'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Outcome } from './ledger.js'

/** `Retry-After` while no worker is ready or the server goes away: about a restart or a rollout's probe period. */
export const NOT_READY_RETRY_SECONDS = 5

/** `Retry-After` while the memory is spent: what is in the making, or being read, has mostly gone by then. */
export const MEMORY_RETRY_SECONDS = 5

/** How each end of a job is told to the client. */
const FAILURE_CODES: Record<JobError['failure'], ErrorCode> = {
  cancelled: 'CANCELLED',
  expired: 'DEADLINE_EXCEEDED',
  draining: 'DRAINING',
  worker_crashed: 'WORKER_CRASHED',
  out_of_memory: 'OUT_OF_MEMORY',
  invalid: 'INVALID_REQUEST',
  internal: 'GENERATION_FAILED'
}

/** Whatever went wrong with an accepted request, as an error of the catalogue. */
export function toEaselError(error: unknown): EaselError {
  if (error instanceof EaselError) return error
  if (!(error instanceof JobError)) return new EaselError('INTERNAL', undefined, { cause: error, ofAccepted: true })
  const retry = error.failure === 'draining' ? { retryAfter: NOT_READY_RETRY_SECONDS } : {}
  return new EaselError(FAILURE_CODES[error.failure], error.message, { cause: error, ofAccepted: true, ...retry })
}

export function outcomeOf(error: EaselError): Outcome {
  if (error.code === 'CANCELLED') return 'cancelled'
  return error.code === 'DEADLINE_EXCEEDED' ? 'expired' : 'failed'
}
