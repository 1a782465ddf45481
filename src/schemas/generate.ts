import { Type, type Static } from 'typebox'

/** The longest prompt in UTF-16 units. 77 tokens are seldom over 500; more is accepted so that the answer can say where the cut is. */
export const MAX_PROMPT_LENGTH = 4000

const size = { minimum: 8, maximum: 8192 }

/** Body of POST /generate, in diffusers' names. What the model supports is checked after the schema, against the worker's word. */
export const GenerateRequest = Type.Object(
  {
    prompt: Type.String({ minLength: 1, maxLength: MAX_PROMPT_LENGTH, description: 'What the image shows.', examples: ['a red circle on a blue background'] }),
    negative_prompt: Type.Optional(Type.String({ maxLength: MAX_PROMPT_LENGTH, description: 'What the image is to stay away from. Used when guidance_scale > 1.' })),
    seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 4_294_967_295, description: 'Decides the noise. The same request with the same seed gives the same image. Random when left out, and always returned.' })),
    num_inference_steps: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, description: 'Denoising steps.' })),
    guidance_scale: Type.Optional(Type.Number({ minimum: 0, maximum: 100, description: 'Classifier-free guidance; 1 or less turns it off.' })),
    width: Type.Optional(Type.Integer({ ...size, description: 'Pixels. A size that the model has compiled programs for; /health lists them.' })),
    height: Type.Optional(Type.Integer({ ...size, description: 'Pixels.' })),
    scheduler: Type.Optional(Type.String({ maxLength: 64, description: 'Sampler, for example euler or dpmpp_2m; /health lists them.' })),
    truncate: Type.Optional(Type.Boolean({ description: 'Accept a prompt that is too long and use its first 77 tokens.' }))
  },
  { $id: 'GenerateRequest', additionalProperties: false }
)

export type GenerateRequest = Static<typeof GenerateRequest>
