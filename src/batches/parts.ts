import type { LimitFunction } from 'p-limit'
import type { Jobs } from '../jobs/jobs.js'
import type { Log } from '../logger.js'
import type { BatchEnd } from './batch.js'
import type { Files } from './files.js'
import type { Endpoint } from './requests.js'
import type { BatchResults } from './results.js'

/** What the work on batches needs. */
export interface WorkParts {
  jobs: Jobs
  files: Files
  results: BatchResults
  endpoint: Endpoint
  /** Lets one batch at a time read its lines, which takes a millisecond or two for each. */
  inTurn: LimitFunction
  log: Log
  observer: BatchObserver
}

export interface BatchObserver {
  /** A batch ended at this gateway. */
  batchEnded: (status: 'failed' | BatchEnd) => void
}
