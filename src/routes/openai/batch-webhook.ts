import { batchOf } from '../../batches/batch.js'
import type { RecordState } from '../../jobs/records.js'
import type { BatchWebhook } from '../../schemas/batch-webhook.js'
import { batchObject } from './batch-object.js'
import { secondsOf } from './list.js'

/** What a webhook says of a batch that has ended: the batch as GET /v1/batches/{id} shows it. @param id the message's */
export function batchWebhookBody(record: RecordState, id: string): string {
  const batch = batchOf(record)
  const { status, times } = batch.doc
  const endedAt = times[status]!
  const body: BatchWebhook = {
    id,
    object: 'event',
    created_at: secondsOf(endedAt),
    type: `batch.${status}` as BatchWebhook['type'],
    timestamp: new Date(endedAt).toISOString(),
    data: batchObject(batch)
  }
  return JSON.stringify(body)
}
