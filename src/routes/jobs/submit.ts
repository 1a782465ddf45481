import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Jobs, SubmittedAs } from '../../jobs/jobs.js'
import type { JobDocument } from '../../schemas/job.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import { callerOf, type CallerHeaders, fingerprintOfRequest } from '../caller.js'
import { baseOf } from '../own-url.js'
import { documentOf, pathOf } from './document.js'

/** The preference by which a client asks for an answer at once and its images later. @see https://www.rfc-editor.org/rfc/rfc7240#section-4.1 */
export const RESPOND_ASYNC = 'respond-async'

export interface JobAnswers {
  jobs: Jobs
  /** What URLs of the gateway's own begin with; undefined for what the client called it. */
  publicUrl: string | undefined
}

/** Whether a client prefers a job to waiting for its images. */
export function prefersJob({ headers: { prefer = '' } }: FastifyRequest): boolean {
  return [prefer]
    .flat()
    .flatMap((line) => line.split(','))
    .some((preference) => preference.split(/[;=]/)[0]!.trim().toLowerCase() === RESPOND_ASYNC)
}

/**
 * Submits a request as a job, and answers where it is.
 *
 * @param body the effective request, with the digests of its pictures
 * @param id the job's, if its client chose one
 * @throws EaselError when it is refused
 */
export async function submitJob(
  { jobs, publicUrl }: JobAnswers,
  request: FastifyRequest,
  reply: FastifyReply,
  body: GenerateRequest,
  headers: CallerHeaders,
  id?: string
): Promise<JobDocument> {
  const caller = callerOf(request, headers, body)
  const as: SubmittedAs = { id, key: headers['idempotency-key'], fingerprint: fingerprintOfRequest(body) }
  const pictures = request.uploads?.all ?? []
  const { name, state, fresh } = await jobs.submit(body, caller, pictures, as)
  // Its pictures are in the store.
  request.uploads?.close()
  if (!fresh) reply.header('idempotent-replayed', 'true')
  if (id === undefined) reply.header('preference-applied', RESPOND_ASYNC)
  reply.code(202).header('location', pathOf(name.id))
  return documentOf(jobs, name, state, baseOf(request, publicUrl))
}
