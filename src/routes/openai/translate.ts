import type { Preset } from '../../parameters.js'
import type { GenerateRequest } from '../../schemas/generate.js'
import { EXTRAS, type OpenAiImagesRequest } from '../../schemas/openai.js'

/** `partial_images` of a streaming request, otherwise 0. */
export function partialImagesOf({ stream, partial_images }: OpenAiImagesRequest): number {
  return stream === true ? (partial_images ?? 0) : 0
}

/** Models whose images OpenAI returns as URLs by default. Wrappers written for them read only URLs. */
const URL_MODELS: ReadonlySet<string> = new Set(['dall-e-2', 'dall-e-3'])

/** The form of the images: as requested, else OpenAI's default for the model named. */
export function responseFormatOf({ response_format, model }: OpenAiImagesRequest): 'b64_json' | 'url' {
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
export function modelOf({ model }: OpenAiImagesRequest, served: readonly string[]): string | undefined {
  if (model == null || (OPENAI_MODEL.test(model) && !served.includes(model))) return undefined
  return model
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

/** Undefined for the server's default size. */
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
