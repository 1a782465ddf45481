import { EaselError } from '../errors.js'
import type { JobName } from '../jobs/store.js'
import { failureOf } from '../jobs/submission.js'
import { type BatchEnd, derivedId } from './batch.js'
import type { ClaimedBatch } from './claimed.js'
import type { OutputFile } from './files.js'
import type { WorkParts } from './parts.js'

type Parts = Pick<WorkParts, 'jobs' | 'results' | 'log' | 'observer'>

/** Ends what has not ended of a batch that is finalizing, counts, and writes what it has become. @throws Left */
export async function finish(claimed: ClaimedBatch, parts: Parts): Promise<void> {
  const { results } = parts
  const { store } = parts.jobs
  const { doc, name } = claimed.batch
  const end = doc.end!
  const keep = Math.min(store.bounds.keep, doc.resultTtl ?? Infinity)
  const outcome = JSON.stringify(failureOf(new EaselError('CANCELLED', `the batch of this job has ended (${end})`)))
  const cancel = (job: JobName) => store.cancel(job, outcome)
  const settle = () => results.settle(claimed.batch, Date.now() + keep, cancel)
  const { completed, failed, largest, bytes } = await claimed.patiently(settle)
  Object.assign(doc, { completed, failed, largest })
  for (const [which, count] of [
    ['output', completed],
    ['error', failed]
  ] as const) {
    if (count === 0) continue
    const id = derivedId(name, 'file-', which)
    doc[which] = id
    const file: OutputFile = {
      purpose: 'batch_output',
      filename: `${name.id}_${which}.jsonl`,
      bytes: bytes[which],
      batch: name.id,
      which
    }
    await claimed.patiently(() =>
      store.records.create({
        name: { kind: 'file', scope: name.scope, id },
        doc: JSON.stringify(file),
        ttl: keep,
        as: 'shown',
        always: true
      })
    )
  }
  await endAs(end, claimed, parts)
}

/** Writes a batch's end. @throws Left */
export async function endAs(
  end: 'failed' | BatchEnd,
  claimed: ClaimedBatch,
  { log, observer }: Pick<Parts, 'log' | 'observer'>
): Promise<void> {
  claimed.become(end)
  await claimed.close()
  const { name, doc } = claimed.batch
  const { status, total, completed, failed } = doc
  observer.batchEnded(end)
  log.info({ batch: name.id, status, total, completed, failed }, 'a batch has ended')
}
