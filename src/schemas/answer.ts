import { Type, type Static } from 'typebox'
import { Recipe } from '../image/recipe.js'
import { ChipSeconds } from './chip-seconds.js'
import { ref } from './ref.js'

const Milliseconds = Type.Number({ minimum: 0 })

/** Body of a JSON answer to POST /generate. */
export const GenerateResponse = Type.Object(
  {
    id: Type.String({ description: "The request's id, also sent as x-request-id." }),
    images: Type.Array(
      Type.Object({
        index: Type.Integer(),
        seed: Type.Integer(),
        mime_type: Type.String(),
        width: Type.Integer(),
        height: Type.Integer(),
        data: Type.String({ description: 'The file in base64.' }),
        recipe: Type.Optional(ref(Recipe))
      })
    ),
    timings: Type.Object(
      {
        queue_ms: Milliseconds,
        encode_ms: Milliseconds,
        denoise_ms: Milliseconds,
        decode_ms: Milliseconds,
        file_ms: Milliseconds,
        total_ms: Milliseconds
      },
      { description: 'Duration of each stage; for several images, the longest of each.' }
    ),
    truncated: Type.Array(Type.String(), { description: 'Names of the prompt fields that were cut to fit.' }),
    warnings: Type.Array(Type.String(), {
      description:
        'What is probably not meant as it is read, e.g. a weight in a plain prompt, or a LoRA for few steps with many.'
    }),
    usage: Type.Object({
      chunks: Type.Integer({ description: 'The number of chunks of 75 tokens in which the prompts are encoded.' }),
      tokens: Type.Record(Type.String(), Type.Integer(), {
        description: 'Tokens of each prompt by its field, before any cut, without start, end and padding.'
      }),
      chip_seconds: Type.Optional(ref(ChipSeconds))
    })
  },
  { $id: 'GenerateResponse' }
)
export type GenerateResponse = Static<typeof GenerateResponse>
