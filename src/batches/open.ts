import pLimit from 'p-limit'
import type { Jobs } from '../jobs/jobs.js'
import type { Log } from '../logger.js'
import type { ImageService } from '../service/service.js'
import { Batches } from './batches.js'
import { Files } from './files.js'
import type { Endpoint } from './requests.js'
import { BatchResults } from './results.js'
import { BatchRunner } from './runner.js'
import type { BatchObserver } from './parts.js'

export interface BatchingOptions {
  service: ImageService
  jobs: Jobs
  endpoint: Endpoint
  log: Log
  observer: BatchObserver
}

/** The parts of batches, which work on those of the store from now on. */
export interface Batching {
  files: Files
  batches: Batches
  batchResults: BatchResults
  batchEndpoint: string
  runner: BatchRunner
}

export function openBatching({ service, jobs, endpoint, log, observer }: BatchingOptions): Batching {
  const files = new Files(jobs.store)
  const results = new BatchResults(jobs, endpoint)
  const runner = new BatchRunner({ jobs, files, results, endpoint, inTurn: pLimit(1), log, observer })
  const batches = new Batches({ service, jobs, files, results, runner })
  return { files, batches, batchResults: results, batchEndpoint: endpoint.path, runner }
}
