import { catalogue } from '../../errors.js'
import { mimeOf } from '../../image/formats.js'
import type { About, Made, Outcome, Progress } from '../../jobs/submission.js'
import type { JobName, JobState } from '../../jobs/store.js'
import type { JobDocument } from '../../schemas/job.js'

/** A job as its clients see it. @param keep ms for which ended jobs are kept */
export function documentOf({ id }: JobName, state: JobState, keep: number): JobDocument {
  const { seed } = JSON.parse(state.about) as About
  const outcome = state.outcome === undefined ? undefined : (JSON.parse(state.outcome) as Outcome)
  const { endedAt } = state
  return {
    id,
    status: state.status,
    seed,
    submitted_at: timeOf(state.submittedAt),
    started_at: state.startedAt === undefined ? null : timeOf(state.startedAt),
    ended_at: endedAt === undefined ? null : timeOf(endedAt),
    deadline: timeOf(state.deadline),
    kept_until: endedAt === undefined ? null : timeOf(endedAt + keep),
    crashes: state.crashes,
    progress: state.progress === undefined ? null : (JSON.parse(state.progress) as Progress),
    links: { self: pathOf(id), events: `${pathOf(id)}/events` },
    result: outcome !== undefined && 'made' in outcome ? resultOf(id, outcome.made) : null,
    error:
      outcome !== undefined && 'error' in outcome
        ? { statusCode: catalogue[outcome.error.code].status, ...outcome.error }
        : null
  }
}

export function pathOf(id: string): string {
  return `/jobs/${id}`
}

function resultOf(id: string, { images, timings, prompts, used }: Made): JobDocument['result'] {
  const { chunks, tokens } = prompts.usage
  return {
    images: images.map(({ format, ...image }) => ({
      ...image,
      mime_type: mimeOf(format),
      url: `${pathOf(id)}/images/${image.index}`
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
