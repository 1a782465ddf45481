import { Type, type Static, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import { FORMATS } from '../image/formats.js'
import { OutputFormat } from './format.js'
import { file, files } from './file.js'
import { maybe, oneOf } from './maybe.js'
import { PresetSchema } from './preset.js'
import {
  bareProperties,
  MAX_PROMPT_LENGTH,
  type Parameter,
  type ParameterName,
  parameters,
  parametersWith,
  type ValueOf
} from '../parameters.js'

/** SDXL parameters that OpenAI's API lacks and /v1 accepts. */
export const EXTRAS = parametersWith('openai')

/** The same of requests that start from a picture. */
const PICTURE_EXTRA_NAMES = ['mask_from', 'strength', 'resize_mode', 'padding_mask_crop'] as const
type PictureExtra = (typeof PICTURE_EXTRA_NAMES)[number]
export const PICTURE_EXTRAS = PICTURE_EXTRA_NAMES.map((name) => ({ ...(parameters[name] as Parameter), name }))

type Extras<N extends ParameterName> = { [K in N]: TOptional<TUnsafe<ValueOf<K> | null>> }

/** Fields with the meaning that they have in POST /generate, or with the schema that the table gives for here. */
function extrasOf<N extends ParameterName>(list: readonly (Parameter & { readonly name: N })[]): Extras<N> {
  return Object.fromEntries(
    list.map(({ name, schema, openai = true }) => [
      name,
      maybe(
        (openai === true ? { ...schema, description: 'Same as in POST /generate.' } : openai) as TSchema & {
          type: string
        }
      )
    ])
  ) as unknown as Extras<N>
}

/**
 * Body of POST /v1/images/generations. Unknown fields are ignored, as OpenAI's API does.
 *
 * @see https://platform.openai.com/docs/api-reference/images/create
 */
export const OpenAiImagesRequest = Type.Object(
  {
    prompt: Type.String({
      minLength: 1,
      maxLength: MAX_PROMPT_LENGTH,
      description:
        'What the image shows. Cut to the tokens that SDXL takes, 77 in the syntax `plain`; the header `easel-truncated` then names it.'
    }),
    model: maybe(
      Type.String({
        description:
          "Which of the server's models to use; GET /v1/models lists them. The first is the default, and what OpenAI's own names (dall-e-3, gpt-image-1, ...) choose."
      })
    ),
    n: maybe(Type.Integer({ minimum: 1, maximum: 64, description: 'How many images to make.' })),
    size: maybe(
      Type.String({
        pattern: '^(auto|[0-9]{1,4}x[0-9]{1,4}|[1-9][0-9]{0,3}:[1-9][0-9]{0,3})$',
        description:
          '`WIDTHxHEIGHT`; an aspect ratio such as `16:9` for the offered size nearest to it; or `auto` for the default size. With the server option SNAP_SIZES, a size that is not offered is replaced by the nearest one.'
      })
    ),
    response_format: maybe(
      oneOf(
        ['b64_json', 'url'],
        '`url` returns a URL that anybody can read for a while if the server stores images (its option RESULTS), else a data: URL. Default: `url` for the models dall-e-2 and dall-e-3, as in the OpenAI API, else b64_json.'
      )
    ),
    output_format: maybe(oneOf([...FORMATS, 'jpg'], 'File format; jpg means jpeg.')),
    output_compression: maybe(Type.Integer({ minimum: 0, maximum: 100, description: 'Quality of jpeg and webp.' })),
    quality: maybe(Type.String({ description: 'Ignored; set num_inference_steps instead.' })),
    stream: maybe(Type.Boolean({ description: 'Stream events while the images are made.' })),
    partial_images: maybe(
      Type.Integer({ minimum: 0, maximum: 3, description: 'Maximum number of previews of each image in the stream.' })
    ),
    user: maybe(Type.String()),
    ...extrasOf(EXTRAS)
  },
  { $id: 'OpenAiImagesRequest', examples: [{ prompt: 'a red circle on a blue background', n: 1 }] }
)
export type OpenAiImagesRequest = Static<typeof OpenAiImagesRequest>

const { prompt, ...answers } = OpenAiImagesRequest.properties

/** What both requests with a picture take besides it. `size` auto is the offered size nearest to the picture's. */
const withPicture = { ...answers, ...extrasOf<PictureExtra>(PICTURE_EXTRAS) }

/** Fields of OpenAI's models that mean nothing here. */
const ignored = {
  background: maybe(Type.String({ description: 'Ignored: images are opaque.' })),
  input_fidelity: maybe(Type.String({ description: 'Ignored; set strength instead.' })),
  moderation: maybe(Type.String({ description: 'Ignored.' }))
}

const ImageUrl = Type.Object({
  image_url: Type.String({ description: 'A data: URL. The server fetches nothing.' })
})
const MASK = 'What is transparent in it is repainted; `mask_from` white repaints what is white.'

/**
 * JSON body of POST /v1/images/edits.
 *
 * @see https://platform.openai.com/docs/api-reference/images/createEdit
 */
export const OpenAiEditsRequest = Type.Object(
  {
    prompt,
    ...withPicture,
    ...ignored,
    images: Type.Array(ImageUrl, { minItems: 1, maxItems: 1, description: 'The picture to edit.' }),
    mask: Type.Optional(Type.Object(ImageUrl.properties, { description: MASK }))
  },
  { $id: 'OpenAiEditsRequest' }
)

/** The files of a form besides those to start from. Lists such as `controls` are JSON in the form's text. */
const entryFiles = {
  control_image: files('The picture of each entry of `controls`, in their order; also as `control_image[]`.'),
  ip_adapter_image: files('The picture of each entry of `ip_adapters`; also as `ip_adapter_image[]`.')
}

/** The same as a form, as the official clients send it. */
export const OpenAiEditsForm = Type.Object(
  {
    prompt,
    ...withPicture,
    ...ignored,
    ...entryFiles,
    image: file('The picture to edit; also as `image[]`.'),
    mask: file(MASK)
  },
  { $id: 'OpenAiEditsForm' }
)
export type OpenAiEditsForm = Static<typeof OpenAiEditsForm>

/**
 * Body of POST /v1/images/variations.
 *
 * @see https://platform.openai.com/docs/api-reference/images/createVariation
 */
export const OpenAiVariationsForm = Type.Object(
  { ...withPicture, ...entryFiles, image: file('The picture to vary.') },
  { $id: 'OpenAiVariationsForm' }
)
export type OpenAiVariationsForm = Static<typeof OpenAiVariationsForm>

export const OpenAiImagesResponse = Type.Object(
  {
    created: Type.Integer({ description: 'Unix time in seconds.' }),
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
      code: Type.String({
        description: "Easel's error code; `model_not_found`, as OpenAI has it, for an unknown model."
      })
    })
  },
  { $id: 'OpenAiError' }
)
export type OpenAiError = Static<typeof OpenAiError>

export const OpenAiModel = Type.Object(
  {
    id: Type.String(),
    object: Type.Literal('model'),
    created: Type.Integer(),
    owned_by: Type.String(),
    family: Type.Optional(Type.String({ description: "The model's architecture, such as sdxl, ssd-1b or lcm." })),
    sizes: Type.Array(Type.Array(Type.Integer()), { description: 'Sizes as [width, height].' }),
    defaults: Type.Object(bareProperties(parametersWith('option')), {
      description: 'Values for fields that a request omits.'
    }),
    presets: Type.Array(PresetSchema, { description: 'What requests may send as `preset`, with the values it sets.' })
  },
  { $id: 'OpenAiModel' }
)
export type OpenAiModel = Static<typeof OpenAiModel>
