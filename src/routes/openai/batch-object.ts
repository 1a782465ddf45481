import type { Batch } from '../../batches/batch.js'
import type { OpenAiBatch } from '../../schemas/openai-batch.js'
import { secondsOf } from './list.js'

/** A batch as its owner sees it. */
export function batchObject({ name, doc, createdAt, cancelledAt }: Batch): OpenAiBatch {
  const { times, end, errors } = doc
  const timeOf = (ms: number | undefined) => (ms === undefined ? null : secondsOf(ms))
  // Its end may have been asked for when all lines had ended.
  const cancelling = cancelledAt !== undefined && (end === undefined || end === 'cancelled') && doc.status !== 'failed'
  return {
    id: name.id,
    object: 'batch',
    endpoint: doc.endpoint,
    errors: errors.length === 0 ? null : { object: 'list', data: [...errors] },
    input_file_id: doc.input,
    completion_window: doc.window,
    status: cancelling && doc.status !== 'cancelled' ? 'cancelling' : doc.status,
    output_file_id: doc.output ?? null,
    error_file_id: doc.error ?? null,
    created_at: secondsOf(createdAt),
    in_progress_at: timeOf(times.in_progress),
    expires_at: secondsOf(doc.deadline),
    finalizing_at: timeOf(times.finalizing),
    completed_at: timeOf(times.completed),
    failed_at: timeOf(times.failed),
    expired_at: timeOf(times.expired),
    cancelling_at: cancelling ? secondsOf(cancelledAt) : null,
    cancelled_at: timeOf(times.cancelled),
    request_counts: { total: doc.total, completed: doc.completed, failed: doc.failed },
    metadata: doc.metadata === null ? null : { ...doc.metadata }
  }
}
