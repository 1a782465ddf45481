import type { GenerateRequest } from '../../schemas/generate.js'
import type { OpenAiImagesRequest } from '../../schemas/openai.js'

/** `partial_images` of a request that streams, 0 of one that does not. */
export function partialImagesOf({ stream, partial_images }: OpenAiImagesRequest): number {
  return stream === true ? (partial_images ?? 0) : 0
}

/**
 * An OpenAI request in our own terms.
 *
 * @param defaultSteps steps of a request that does not say how many
 */
export function translate(request: OpenAiImagesRequest, defaultSteps: number): GenerateRequest {
  const [width, height] = sizeOf(request.size)
  const partials = partialImagesOf(request)
  const steps = request.num_inference_steps ?? defaultSteps
  return withoutNulls({
    prompt: request.prompt,
    negative_prompt: request.negative_prompt,
    seed: request.seed,
    num_inference_steps: request.num_inference_steps,
    guidance_scale: request.guidance_scale,
    guidance_start: request.guidance_start,
    guidance_end: request.guidance_end,
    cache_interval: request.cache_interval,
    scheduler: request.scheduler,
    num_images: request.n,
    width,
    height,
    output_format: request.output_format,
    quality: request.output_compression == null ? undefined : Math.max(1, request.output_compression),
    preview_interval: partials === 0 ? undefined : Math.max(1, Math.ceil(steps / (partials + 1))),
    // A client of this API knows of no limit of 77 tokens.
    truncate: true
  })
}

function sizeOf(size: string | null | undefined): [width: number | undefined, height: number | undefined] {
  if (size == null || size === 'auto') return [undefined, undefined]
  const [width, height] = size.split('x').map(Number)
  return [width, height]
}

type Nullable<T> = { [K in keyof T]: T[K] | null | undefined }

function withoutNulls(request: Nullable<GenerateRequest> & { prompt: string }): GenerateRequest {
  return Object.fromEntries(Object.entries(request).filter(([, value]) => value != null)) as GenerateRequest
}
