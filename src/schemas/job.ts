import { Type, type Static } from 'typebox'
import { GenerateResponse } from './answer.js'
import { ChipSeconds } from './chip-seconds.js'
import { oneOf } from './maybe.js'
import { ref } from './ref.js'

const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) => Type.Union([Type.Null(), schema])
const Time = Type.String({ description: 'RFC 3339, by the clock of the job store.' })

/** What an image's file does not say of itself. */
const { data: _, recipe, ...about } = GenerateResponse.properties.images.items.properties

/** What everybody who may see a job gets: body of GET /jobs/{id}. */
export const JobDocument = Type.Object(
  {
    id: Type.String(),
    status: oneOf(
      ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired'],
      'The last four are ends: a job has exactly one.'
    ),
    seed: Type.Integer({ description: 'Of its first image; fixed when the job was submitted.' }),
    submitted_at: Time,
    started_at: Nullable(Time),
    ended_at: Nullable(Time),
    deadline: Time,
    kept_until: Nullable(Time),
    crashes: Type.Integer({
      description: 'How many gateways died, or lost the job store, while they made it. At two it fails.'
    }),
    progress: Nullable(
      Type.Object(
        {
          images_done: Type.Integer(),
          images: Type.Integer(),
          step: Type.Integer(),
          of: Type.Integer()
        },
        { description: 'Of the attempt in progress; the steps of all images are counted together.' }
      )
    ),
    links: Type.Object({ self: Type.String(), events: Type.String() }),
    result: Nullable(
      Type.Object({
        images: Type.Array(
          Type.Object({
            ...about,
            bytes: Type.Integer(),
            sha256: Type.String(),
            url: Type.String({ description: 'Path of the file, at any gateway; with access keys it needs one.' }),
            signed_url: Type.Optional(
              Type.String({
                description:
                  'URL of the file that needs no key, for RESULTS_URL_TTL from now, where the server has RESULTS. Get the job again for a fresh one.'
              })
            ),
            recipe
          })
        ),
        timings: GenerateResponse.properties.timings,
        truncated: GenerateResponse.properties.truncated,
        warnings: GenerateResponse.properties.warnings,
        usage: Type.Object({
          chunks: Type.Integer(),
          tokens: Type.Record(Type.String(), Type.Integer()),
          chip_seconds: Type.Optional(ref(ChipSeconds))
        })
      })
    ),
    error: Nullable(
      Type.Object({
        statusCode: Type.Integer(),
        code: Type.String(),
        message: Type.String(),
        field: Type.Optional(Type.String())
      })
    )
  },
  { $id: 'JobDocument' }
)
export type JobDocument = Static<typeof JobDocument>

/** What a client may call its job. */
export const JOB_ID = '^[A-Za-z0-9_.~-]{1,128}$'

export const JobParams = Type.Object({
  id: Type.String({ pattern: JOB_ID, description: "The job's id." })
})
