import type { Jobs } from '../../jobs/jobs.js'
import type { JobName, JobState } from '../../jobs/store.js'
import type { JobDocument } from '../../schemas/job.js'
import type { JobWebhook } from '../../schemas/job-webhook.js'
import { absoluteUrl } from '../own-url.js'
import { documentOf } from './document.js'

/**
 * What a webhook says of a job that has ended: the job as GET /jobs/{id} shows it, without the recipes of its images, which
 * would be most of it and have the prompts.
 *
 * @param base what its links begin with; undefined for paths
 */
export async function webhookBody(jobs: Jobs, name: JobName, state: JobState, base = ''): Promise<string> {
  const { links, result, ...job } = await documentOf(jobs, name, state, base)
  const data: JobDocument = {
    ...job,
    links: { self: absoluteUrl(links.self, base), events: absoluteUrl(links.events, base) },
    result: result && {
      ...result,
      images: result.images.map(({ recipe: _recipe, url, ...image }) => ({ ...image, url: absoluteUrl(url, base) }))
    }
  }
  const body: JobWebhook = {
    type: `job.${job.status}` as JobWebhook['type'],
    timestamp: job.ended_at!,
    data
  }
  return JSON.stringify(body)
}
