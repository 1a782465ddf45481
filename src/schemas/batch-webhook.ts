import { Type, type Static } from 'typebox'
import { oneOf } from './maybe.js'
import { OpenAiBatch } from './openai-batch.js'
import { ref } from './ref.js'

/**
 * The body of a batch's webhook: an event of OpenAI's webhooks that is also one of https://www.standardwebhooks.com.
 *
 * @see https://platform.openai.com/docs/api-reference/webhook-events/batch
 */
export const BatchWebhook = Type.Object(
  {
    id: Type.String({ description: 'As the header webhook-id.' }),
    object: Type.Literal('event'),
    created_at: Type.Integer({ description: 'When it ended. Unix time in seconds.' }),
    type: oneOf(['batch.completed', 'batch.failed', 'batch.cancelled', 'batch.expired'], 'How the batch ended.'),
    timestamp: Type.String({ description: 'When it ended. RFC 3339.' }),
    data: ref(OpenAiBatch)
  },
  { $id: 'BatchWebhook' }
)
export type BatchWebhook = Static<typeof BatchWebhook>
