import { Type, type Static } from 'typebox'
import { JobDocument } from './job.js'
import { oneOf } from './maybe.js'
import { ref } from './ref.js'

/** The body of a webhook: the form of https://www.standardwebhooks.com, with the job as its data. */
export const JobWebhook = Type.Object(
  {
    type: oneOf(['job.succeeded', 'job.failed', 'job.cancelled', 'job.expired'], 'How the job ended.'),
    timestamp: Type.String({ description: 'When it ended. RFC 3339, by the clock of the job store.' }),
    data: ref(JobDocument)
  },
  { $id: 'JobWebhook' }
)
export type JobWebhook = Static<typeof JobWebhook>

/** Headers of a webhook. @see https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#webhook-headers-sending-metadata-to-consumers */
export const webhookHeaders = {
  'webhook-id': 'The same for every attempt: whoever gets it twice ignores the second.',
  'webhook-timestamp': 'When it was sent, in seconds since 1970. Refuse what is older than five minutes.',
  'webhook-signature':
    'One or more of `v1,` and the base64 of HMAC-SHA256(secret, `{webhook-id}.{webhook-timestamp}.{body}`), separated by spaces. One must be right.'
} as const
