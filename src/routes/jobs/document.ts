import { catalogue } from '../../errors.js'
import { mimeOf } from '../../image/formats.js'
import type { Jobs } from '../../jobs/jobs.js'
import type { About, Made, Outcome, Progress } from '../../jobs/submission.js'
import type { JobName, JobState } from '../../jobs/store.js'
import type { JobDocument } from '../../schemas/job.js'
import { absoluteUrl } from '../own-url.js'

/**
 * A job as its clients see it.
 *
 * @param base what URLs of the gateway's own begin with
 */
export async function documentOf(jobs: Jobs, { id }: JobName, state: JobState, base: string): Promise<JobDocument> {
  const { seed } = JSON.parse(state.about) as About
  const outcome = state.outcome === undefined ? undefined : (JSON.parse(state.outcome) as Outcome)
  const made = outcome !== undefined && 'made' in outcome ? outcome.made : undefined
  const urls = made?.stored && (await jobs.files?.urls(made.stored))
  const { endedAt, keptFrom } = state
  return {
    id,
    status: state.status,
    seed,
    submitted_at: timeOf(state.submittedAt),
    started_at: state.startedAt === undefined ? null : timeOf(state.startedAt),
    ended_at: endedAt === undefined ? null : timeOf(endedAt),
    deadline: timeOf(state.deadline),
    kept_until: endedAt === undefined ? null : timeOf((keptFrom ?? endedAt) + jobs.store.bounds.keep),
    crashes: state.crashes,
    progress: state.progress === undefined ? null : (JSON.parse(state.progress) as Progress),
    links: { self: pathOf(id), events: `${pathOf(id)}/events` },
    result:
      made === undefined
        ? null
        : resultOf(
            id,
            made,
            urls?.map((url) => absoluteUrl(url, base))
          ),
    error:
      outcome !== undefined && 'error' in outcome
        ? { statusCode: catalogue[outcome.error.code].status, ...outcome.error }
        : null
  }
}

export function pathOf(id: string): string {
  return `/jobs/${id}`
}

function resultOf(
  id: string,
  { images, timings, prompts, used }: Made,
  urls: readonly string[] | undefined
): JobDocument['result'] {
  const { chunks, tokens } = prompts.usage
  return {
    images: images.map(({ format, ...image }, which) => ({
      ...image,
      mime_type: mimeOf(format),
      url: `${pathOf(id)}/images/${image.index}`,
      ...(urls === undefined ? {} : { signed_url: urls[which]! })
    })),
    timings,
    truncated: [...prompts.truncated],
    warnings: [...prompts.warnings],
    usage: { chunks, tokens, ...(used === undefined ? {} : { chip_seconds: used }) }
  }
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString()
}
