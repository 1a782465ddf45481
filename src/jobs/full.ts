import { EaselError } from '../errors.js'
import { MOST_OPEN } from './records.js'

/** `Retry-After` of a full store. Room comes when jobs end, are fetched and deleted, or grow old. */
const FULL_RETRY_SECONDS = 10

const LIMITS = { jobs: 'JOB_LIMIT', bytes: 'JOB_BYTES', server: 'maxmemory of its server' } as const

/** @param what of it is full */
export function jobsFull(what: keyof typeof LIMITS, scope: string): EaselError {
  const limit = LIMITS[what]
  const whose = scope === '' ? 'The job store is full' : `The job store is full, or ${scope} has half of it`
  return new EaselError(
    'JOBS_FULL',
    `${whose} (${limit}): delete jobs and files that you no longer need, or retry later`,
    {
      retryAfter: FULL_RETRY_SECONDS
    }
  )
}

export function neverFits(): EaselError {
  return new EaselError(
    'LIMIT_EXCEEDED',
    'the request and its images do not fit into the job store (JOB_BYTES): ask for fewer or smaller images'
  )
}

export function tooManyOpen(): EaselError {
  return new EaselError('JOBS_FULL', `You have ${MOST_OPEN} batches that have not ended: wait for one, or cancel one`, {
    retryAfter: FULL_RETRY_SECONDS
  })
}

/** @param most bytes that one caller may have in the store */
export function fileNeverFits(most: number): EaselError {
  return new EaselError(
    'LIMIT_EXCEEDED',
    `file must be at most ${most} bytes: it does not fit into the job store (JOB_BYTES)`,
    { field: 'file' }
  )
}
