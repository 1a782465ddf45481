import type { Preset } from '../../parameters.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import {
  EXTRAS,
  type OpenAiEditsForm,
  type OpenAiImagesRequest,
  type OpenAiVariationsForm,
  PICTURE_EXTRAS
} from '../../schemas/openai.js'

/** `partial_images` of a streaming request, otherwise 0. */
export function partialImagesOf({
  stream,
  partial_images
}: Pick<OpenAiImagesRequest, 'stream' | 'partial_images'>): number {
  return stream === true ? (partial_images ?? 0) : 0
}

/** Models whose images OpenAI returns as URLs by default. Wrappers written for them read only URLs. */
const URL_MODELS: ReadonlySet<string> = new Set(['dall-e-2', 'dall-e-3'])

/** The form of the images: as requested, else OpenAI's default for the model named. */
export function responseFormatOf({
  response_format,
  model
}: Pick<OpenAiImagesRequest, 'response_format' | 'model'>): 'b64_json' | 'url' {
  return response_format ?? (URL_MODELS.has(model ?? '') ? 'url' : 'b64_json')
}

/** OpenAI's own image models. Many clients send such a name whatever the server has. */
const OPENAI_MODEL = /^(dall-e|gpt-image|chatgpt-image)-/

/**
 * The model that a request chooses: the one it names, or undefined for the default model if it names none or one of
 * OpenAI's.
 *
 * @param served the names of the server's models
 */
export function modelOf({ model }: Pick<OpenAiImagesRequest, 'model'>, served: readonly string[]): string | undefined {
  if (model == null || (OPENAI_MODEL.test(model) && !served.includes(model))) return undefined
  return model
}

/** How much the image changes when the request does not say. With a mask, diffusers' default applies. */
const EDIT_STRENGTH = 0.8
const VARIATION_STRENGTH = 0.6

/** Nothing but white space, which the text encoders see as an empty prompt. */
const NO_PROMPT = ' '

/** The digests of a request's pictures. */
export interface Pictures {
  image: string
  mask?: string | undefined
}

/** Translates a request for an edit, but for its model, to ours. OpenAI's masks are transparent where to repaint. */
export function translateEdit(request: OpenAiEditsForm, pictures: Pictures, offered: Translation): GenerateRequest {
  const strength = pictures.mask === undefined ? EDIT_STRENGTH : undefined
  return fromPicture(request, pictures, offered, { strength })
}

/** The same for variations, which have no prompt. */
export function translateVariation(
  request: OpenAiVariationsForm,
  pictures: Pictures,
  offered: Translation
): GenerateRequest {
  return fromPicture({ ...request, prompt: NO_PROMPT }, pictures, offered, { strength: VARIATION_STRENGTH })
}

function fromPicture(
  request: OpenAiVariationsForm & { prompt: string },
  { image, mask }: Pictures,
  offered: Translation,
  { strength: usual }: { strength: number | undefined }
): GenerateRequest {
  const own = Object.fromEntries(PICTURE_EXTRAS.map(({ name }) => [name, request[name]])) as Nullable<
    Pick<GenerateRequest, 'mask_from' | 'strength' | 'resize_mode' | 'padding_mask_crop'>
  >
  const strength = own.strength ?? usual
  const { preview_interval: interval, ...translated } = translate(request, offered)
  return withoutNulls({
    ...translated,
    ...own,
    image,
    mask_image: mask,
    mask_from: own.mask_from ?? (mask === undefined ? undefined : 'transparent'),
    strength,
    // Fewer steps run, so the previews are closer together.
    preview_interval: interval && Math.max(1, Math.floor(interval * (strength ?? 1)))
  })
}

export interface Translation {
  /** Steps when the request does not set them. */
  steps: number
  /** The model's presets, whose steps count before those. */
  presets: readonly Pick<Preset, 'name' | 'num_inference_steps'>[]
  /** Offered sizes, from which an aspect ratio chooses. */
  sizes: readonly Size[]
  /** The size of a request that sets none. */
  defaultSize: Size | undefined
  /** Whether to replace a size that is not offered by the nearest one. */
  snap: boolean
}

type Size = readonly [width: number, height: number]

/** Translates an OpenAI request, but for its model, to ours. */
export function translate(request: OpenAiImagesRequest, offered: Translation): GenerateRequest {
  const [width, height] = sizeOf(request.size, offered) ?? []
  const partials = partialImagesOf(request)
  const preset = offered.presets.find(({ name }) => name === request.preset)
  const steps = request.num_inference_steps ?? preset?.num_inference_steps ?? offered.steps
  return withoutNulls({
    prompt: request.prompt,
    ...Object.fromEntries(EXTRAS.map(({ name }) => [name, request[name]])),
    ...(request.seed === -1 ? { seed: undefined } : {}),
    num_images: request.n,
    width,
    height,
    output_format: request.output_format === 'jpg' ? 'jpeg' : request.output_format,
    quality: request.output_compression == null ? undefined : Math.max(1, request.output_compression),
    preview_interval: partials === 0 ? undefined : Math.max(1, Math.ceil(steps / (partials + 1))),
    // OpenAI clients do not expect a 77-token limit, so cut the prompt instead of rejecting it.
    truncate: true
  })
}

/** Undefined for the server's default size, or the picture's. */
function sizeOf(size: string | null | undefined, { sizes, defaultSize, snap }: Translation): Size | undefined {
  if (size == null || size === 'auto') return undefined
  const [width, height] = size.split(/[x:]/).map(Number) as [number, number]
  if (size.includes('x')) return snap ? nearest([width, height], sizes) : [width, height]
  // An aspect ratio: of the default's area, to choose between sizes of the same ratio.
  const scale = Math.sqrt(((defaultSize?.[0] ?? 1) * (defaultSize?.[1] ?? 1)) / (width * height))
  return sizes.length === 0 ? undefined : nearest([width * scale, height * scale], sizes)
}

/** The size nearest in aspect ratio and, with a quarter of that weight, in area. */
function nearest(wanted: Size, sizes: readonly Size[]): Size {
  const factor = (a: number, b: number) => Math.abs(Math.log(a / b))
  const distance = ([width, height]: Size) =>
    factor(width / height, wanted[0] / wanted[1]) + factor(width * height, wanted[0] * wanted[1]) / 4
  return sizes.toSorted((a, b) => distance(a) - distance(b))[0] ?? wanted
}

type Nullable<T> = { [K in keyof T]: T[K] | null | undefined }

function withoutNulls(request: Nullable<GenerateRequest> & { prompt: string }): GenerateRequest {
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value != null)) as GenerateRequest
}
