import { Type } from 'typebox'
import { commonHeaders } from './error.js'
import { jobExample } from './examples.js'
import { JobDocument } from './job.js'
import { ref } from './ref.js'

/** The `response` schema of a request that became a job. */
export const acceptedJob = {
  description: 'With `Prefer: respond-async`: the job that makes the images.',
  headers: {
    ...commonHeaders,
    location: Type.String({ description: 'Where the job is: `/jobs/{id}`.' }),
    'preference-applied': Type.String({ description: '`respond-async`.' }),
    'idempotent-replayed': Type.String({ description: '`true` if the job was submitted before.' })
  },
  content: { 'application/json': { schema: ref(JobDocument), example: jobExample } }
}
