import { Type, type Static } from 'typebox'
import { OutputFormat } from './format.js'
import { ref } from './ref.js'

const Milliseconds = Type.Number({ minimum: 0 })

/** Everything that decides an image; sent to POST /generate (without the model and the version) it gives the same bytes. */
export const Recipe = Type.Object(
  {
    prompt: Type.String(),
    negative_prompt: Type.String(),
    seed: Type.Integer(),
    num_inference_steps: Type.Integer(),
    guidance_scale: Type.Number(),
    scheduler: Type.String(),
    width: Type.Integer(),
    height: Type.Integer(),
    output_format: OutputFormat,
    quality: Type.Optional(Type.Integer()),
    guidance_start: Type.Optional(Type.Number()),
    guidance_end: Type.Optional(Type.Number()),
    cache_interval: Type.Optional(Type.Integer()),
    truncate: Type.Optional(Type.Literal(true, { description: 'A prompt was cut to fit.' })),
    model: Type.String(),
    model_digest: Type.String(),
    version: Type.String()
  },
  { $id: 'Recipe' }
)

/** Body of an answer in JSON. */
export const GenerateResponse = Type.Object(
  {
    id: Type.String({ description: "The request's id, as in x-request-id." }),
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
      { queue_ms: Milliseconds, encode_ms: Milliseconds, denoise_ms: Milliseconds, decode_ms: Milliseconds, file_ms: Milliseconds, total_ms: Milliseconds },
      { description: 'Where the time went; of several images the slowest.' }
    ),
    truncated: Type.Array(Type.String(), { description: 'Prompts that were cut to fit.' })
  },
  { $id: 'GenerateResponse' }
)
export type GenerateResponse = Static<typeof GenerateResponse>
