import { Type, type Static, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import { FORMATS } from '../image/formats.js'
import { OutputFormat } from './format.js'
import { MAX_PROMPT_LENGTH, type NamesWith, parametersWith, type ValueOf } from '../parameters.js'

/** OpenAI's clients send null for what is not set. Of a union of types an error would have a clause for each. */
const maybe = <T extends TSchema & { type: string; enum?: readonly unknown[] }>({ type, enum: values, ...rest }: T) =>
  Type.Optional(
    Type.Unsafe<Static<T> | null>({
      ...rest,
      type: [type, 'null'],
      ...(values === undefined ? {} : { enum: [...values, null] })
    })
  )

/** A text that is one of a few. */
const oneOf = <const V extends string>(values: readonly V[], description: string) =>
  Type.Unsafe<V>({ type: 'string', enum: [...values], description }) as TUnsafe<V> & { type: 'string' }

/** SDXL's own parameters that it takes too. */
export const EXTRAS = parametersWith('openai')

const extras = Object.fromEntries(
  EXTRAS.map(({ name, schema, openai }) => [
    name,
    maybe(
      (openai === true ? { ...schema, description: 'As in POST /generate.' } : openai) as TSchema & { type: string }
    )
  ])
) as { [N in NamesWith<'openai'>]: TOptional<TUnsafe<ValueOf<N> | null>> }

/**
 * Body of POST /v1/images/generations. Fields that it does not know are ignored, as that API does.
 *
 * @see https://platform.openai.com/docs/api-reference/images/create
 */
export const OpenAiImagesRequest = Type.Object(
  {
    prompt: Type.String({
      minLength: 1,
      maxLength: MAX_PROMPT_LENGTH,
      description: 'What the image shows. Cut to the 77 tokens that SDXL takes; `easel-truncated` says so.'
    }),
    model: maybe(
      Type.String({
        description: 'Decides only the default of response_format: there is one model. GET /v1/models names it.'
      })
    ),
    n: maybe(Type.Integer({ minimum: 1, maximum: 64, description: 'How many images to make.' })),
    size: maybe(
      Type.String({
        pattern: '^(auto|[0-9]{1,4}x[0-9]{1,4})$',
        description:
          '`WIDTHxHEIGHT`, or `auto` for the default. Where the server is set to (SNAP_SIZES), a size that it does not offer gives the nearest one.'
      })
    ),
    response_format: maybe(
      oneOf(
        ['b64_json', 'url'],
        '`url` gives a data: URL, since nothing is stored. Default: `url` for the models dall-e-2 and dall-e-3, as that API has it, else b64_json.'
      )
    ),
    output_format: maybe(oneOf([...FORMATS, 'jpg'], 'File format; jpg is jpeg.')),
    output_compression: maybe(Type.Integer({ minimum: 0, maximum: 100, description: 'Quality of jpeg and webp.' })),
    quality: maybe(Type.String({ description: 'Accepted; num_inference_steps decides.' })),
    stream: maybe(Type.Boolean({ description: 'Answer with events as the image is made.' })),
    partial_images: maybe(
      Type.Integer({ minimum: 0, maximum: 3, description: 'How many previews the stream has for each image.' })
    ),
    user: maybe(Type.String()),
    ...extras
  },
  { $id: 'OpenAiImagesRequest', examples: [{ prompt: 'a red circle on a blue background', n: 1 }] }
)
export type OpenAiImagesRequest = Static<typeof OpenAiImagesRequest>

export const OpenAiImagesResponse = Type.Object(
  {
    created: Type.Integer({ description: 'Seconds since 1970.' }),
    data: Type.Array(Type.Object({ b64_json: Type.Optional(Type.String()), url: Type.Optional(Type.String()) })),
    background: Type.Literal('opaque'),
    output_format: OutputFormat,
    size: Type.String(),
    usage: Type.Object({
      input_tokens: Type.Integer(),
      output_tokens: Type.Integer(),
      total_tokens: Type.Integer(),
      input_tokens_details: Type.Object({ text_tokens: Type.Integer(), image_tokens: Type.Integer() })
    })
  },
  { $id: 'OpenAiImagesResponse' }
)
export type OpenAiImagesResponse = Static<typeof OpenAiImagesResponse>

/** @see https://platform.openai.com/docs/guides/error-codes */
export const OpenAiError = Type.Object(
  {
    error: Type.Object({
      message: Type.String(),
      type: Type.String(),
      param: Type.Union([Type.String(), Type.Null()]),
      code: Type.String({ description: "Easel's error code." })
    })
  },
  { $id: 'OpenAiError' }
)
export type OpenAiError = Static<typeof OpenAiError>

export const OpenAiModel = Type.Object(
  { id: Type.String(), object: Type.Literal('model'), created: Type.Integer(), owned_by: Type.String() },
  { $id: 'OpenAiModel' }
)
