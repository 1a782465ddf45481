import type { Capabilities } from '../workers/capabilities.js'
import { JobError } from '../workers/job.js'
import { EaselError, type ErrorCode } from '../errors.js'
import type { Outcome } from './ledger.js'

/** `Retry-After` while no worker is ready or the server drains: about one restart, or one probe period of a rollout. */
export const NOT_READY_RETRY_SECONDS = 5

/** `Retry-After` while memory is full: most running requests and reads end within it. */
export const MEMORY_RETRY_SECONDS = 5

/** The client's error code for each failure of a job. */
const FAILURE_CODES: Record<JobError['failure'], ErrorCode> = {
  cancelled: 'CANCELLED',
  expired: 'DEADLINE_EXCEEDED',
  draining: 'DRAINING',
  worker_crashed: 'WORKER_CRASHED',
  out_of_memory: 'OUT_OF_MEMORY',
  invalid: 'INVALID_REQUEST',
  internal: 'GENERATION_FAILED'
}

/** Refuses a parameter: for now only, if a worker is still compiling the programs for it. */
export function unsupported(
  { name, feature }: { readonly name: string; readonly feature?: string | undefined },
  { comingFeatures }: Pick<Capabilities, 'comingFeatures'>,
  advice: string
): EaselError {
  if (feature === undefined || !comingFeatures.includes(feature))
    return new EaselError('UNSUPPORTED_FEATURE', `${name} ${advice}`, { field: name })
  return new EaselError(
    'NOT_READY',
    `${name} is not available yet: the programs for it are still being compiled; retry later`,
    { field: name, retryAfter: NOT_READY_RETRY_SECONDS }
  )
}

/** Maps any error of an accepted request to one from the catalogue. */
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
