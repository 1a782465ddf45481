import { Type, type Static } from 'typebox'
import { maybe, oneOf } from './maybe.js'
import { ref } from './ref.js'
import { MAX_WEBHOOK_URL } from '../webhooks/hosts.js'

/** Most seconds of `expires_after`, as in OpenAI's API: 30 days. */
const MOST_SECONDS = 2_592_000
const EXPIRY = 'Kept for JOB_TTL at most; `expires_at` says until when.'

const Seconds = Type.Integer({
  description: 'Unix time in seconds.'
})
const Unset = (description: string) => Type.Union([Type.Integer(), Type.Null()], { description })

/** Form of POST /v1/files. @see https://platform.openai.com/docs/api-reference/files/create */
export const OpenAiFileForm = Type.Object(
  {
    file: Type.String({ format: 'binary', description: 'JSON Lines: the requests of a batch.' }),
    purpose: oneOf(['batch'], 'What the file is for: batch.'),
    'expires_after[anchor]': Type.Optional(oneOf(['created_at'], 'What `seconds` counts from.')),
    'expires_after[seconds]': Type.Optional(Type.Integer({ minimum: 1, maximum: MOST_SECONDS, description: EXPIRY }))
  },
  { $id: 'OpenAiFileForm' }
)
export type OpenAiFileForm = Static<typeof OpenAiFileForm>

/** @see https://platform.openai.com/docs/api-reference/files/object */
export const OpenAiFile = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('file'),
    bytes: Type.Integer(),
    created_at: Seconds,
    expires_at: Seconds,
    filename: Type.String(),
    purpose: oneOf(['batch', 'batch_output'], 'batch_output: the results or the errors of a batch.'),
    status: Type.Literal('processed')
  },
  { $id: 'OpenAiFile' }
)
export type OpenAiFile = Static<typeof OpenAiFile>

export const OpenAiDeletedFile = Type.Object(
  { id: Type.String(), object: Type.Literal('file'), deleted: Type.Literal(true) },
  { $id: 'OpenAiDeletedFile' }
)

const listOf = <T extends Parameters<typeof ref>[0]>(item: T, $id: string) =>
  Type.Object(
    {
      object: Type.Literal('list'),
      data: Type.Array(ref(item)),
      first_id: Type.Union([Type.String(), Type.Null()]),
      last_id: Type.Union([Type.String(), Type.Null()]),
      has_more: Type.Boolean()
    },
    { $id }
  )
export const OpenAiFileList = listOf(OpenAiFile, 'OpenAiFileList')

const after = Type.Optional(Type.String({ maxLength: 128, description: 'The id after which the page begins.' }))
/** Queries are texts. */
const limitOf = (most: number, usual: number) =>
  Type.Optional(
    Type.String({ pattern: '^[1-9][0-9]{0,4}$', description: `Most items: from 1 to ${most}, by default ${usual}.` })
  )

/** Files in one answer, whatever was asked for. Clients go on by `has_more`. */
export const MOST_FILES = 500
export const OpenAiFileQuery = Type.Object({
  after,
  limit: limitOf(MOST_FILES, MOST_FILES),
  order: Type.Optional(oneOf(['asc', 'desc'], 'By their creation; desc, the newest first, is the default.')),
  purpose: Type.Optional(Type.String({ maxLength: 64, description: 'Only files of this purpose.' }))
})

export const MOST_BATCHES = 100
export const USUAL_BATCHES = 20
export const OpenAiBatchQuery = Type.Object({ after, limit: limitOf(MOST_BATCHES, USUAL_BATCHES) })

export const OpenAiIdParams = (what: string) =>
  Type.Object({ id: Type.String({ maxLength: 128, description: `The ${what}'s id.` }) })

const Metadata = Type.Record(Type.String({ maxLength: 64 }), Type.String({ maxLength: 512 }), {
  maxProperties: 16,
  description: 'Up to 16 texts of yours.'
})

/** Body of POST /v1/batches. @see https://platform.openai.com/docs/api-reference/batch/create */
export const OpenAiBatchRequest = Type.Object(
  {
    input_file_id: Type.String({ maxLength: 128, description: 'A file of POST /v1/files.' }),
    endpoint: Type.String({ maxLength: 128, description: 'What each line asks for: /v1/images/generations.' }),
    completion_window: oneOf(['24h'], 'The batch has expired after it; earlier with a smaller JOB_TIMEOUT.'),
    metadata: maybe(Metadata as typeof Metadata & { type: 'object' }),
    output_expires_after: maybe(
      Type.Object(
        {
          anchor: oneOf(['created_at'], 'What `seconds` counts from: the creation of the file.'),
          seconds: Type.Integer({ minimum: 1, maximum: MOST_SECONDS })
        },
        { description: `For how long the results are kept. ${EXPIRY}` }
      )
    ),
    webhook: Type.Optional(
      Type.String({
        maxLength: MAX_WEBHOOK_URL,
        description: 'The https:// address that gets a signed POST when the batch has ended (docs/webhooks.md).'
      })
    )
  },
  { $id: 'OpenAiBatchRequest' }
)
export type OpenAiBatchRequest = Static<typeof OpenAiBatchRequest>

const BATCH_STATUSES = [
  'validating',
  'failed',
  'in_progress',
  'finalizing',
  'completed',
  'expired',
  'cancelling',
  'cancelled'
] as const

/** @see https://platform.openai.com/docs/api-reference/batch/object */
export const OpenAiBatch = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('batch'),
    endpoint: Type.String(),
    errors: Type.Union([
      Type.Null(),
      Type.Object({
        object: Type.Literal('list'),
        data: Type.Array(
          Type.Object({
            code: Type.String(),
            message: Type.String(),
            param: Type.Union([Type.String(), Type.Null()]),
            line: Type.Union([Type.Integer(), Type.Null()], { description: 'From 1.' })
          })
        )
      })
    ]),
    input_file_id: Type.String(),
    completion_window: Type.String(),
    status: oneOf(BATCH_STATUSES, 'Ends are failed, completed, expired and cancelled.'),
    output_file_id: Type.Union([Type.String(), Type.Null()]),
    error_file_id: Type.Union([Type.String(), Type.Null()]),
    created_at: Seconds,
    in_progress_at: Unset('When its lines were found to be right.'),
    expires_at: Seconds,
    finalizing_at: Unset('When its last line ended.'),
    completed_at: Unset('When it was completed.'),
    failed_at: Unset('When its lines were found to be wrong.'),
    expired_at: Unset('When it expired.'),
    cancelling_at: Unset('When its end was asked for.'),
    cancelled_at: Unset('When it was cancelled.'),
    request_counts: Type.Object({
      total: Type.Integer(),
      completed: Type.Integer(),
      failed: Type.Integer()
    }),
    metadata: Type.Union([Type.Null(), Type.Record(Type.String(), Type.String())])
  },
  { $id: 'OpenAiBatch' }
)
export type OpenAiBatch = Static<typeof OpenAiBatch>
export const OpenAiBatchList = listOf(OpenAiBatch, 'OpenAiBatchList')
