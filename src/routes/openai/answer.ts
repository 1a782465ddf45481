import { mimeOf } from '../../image/formats.js'
import type { OpenAiImagesRequest, OpenAiImagesResponse } from '../../schemas/openai.js'
import type { Finished, MadeImage, Numbered, Run } from '../../service/run.js'
import { openAiError } from './errors.js'

/** The finished request as one JSON document. */
export function imagesResponse(run: Run, { images }: Finished, { response_format }: OpenAiImagesRequest): OpenAiImagesResponse {
  const [first] = images
  return {
    created: secondsNow(),
    data: images.map((image) => (response_format === 'url' ? { url: dataUrl(image) } : { b64_json: image.bytes.toString('base64') })),
    ...looks(first!),
    usage: usageOf(run)
  }
}

/**
 * Makes the texts of the events that this API streams: previews of each image, as many as were asked for, and the images.
 *
 * @see https://platform.openai.com/docs/api-reference/images-streaming
 */
export function streamTexts(run: Run, partialImages: number): (event: Numbered) => string {
  const previews = new Map<number, number>()
  return (event) => {
    if (event.type === 'preview') {
      const index = previews.get(event.image) ?? 0
      previews.set(event.image, index + 1)
      if (index >= partialImages) return ''
      const { width, height, jpeg } = event
      return text({ type: 'image_generation.partial_image', b64_json: jpeg.toString('base64'), partial_image_index: index, ...looks({ width, height, format: 'jpeg' }) })
    }
    if (event.type === 'image') {
      return text({ type: 'image_generation.completed', b64_json: event.image.bytes.toString('base64'), ...looks(event.image), usage: usageOf(run) })
    }
    return event.type === 'error' ? text({ type: 'error', ...openAiError(event.error) }) : ''
  }
}

function text(event: { type: string; [field: string]: unknown }): string {
  return `event: ${event.type}\ndata: ${JSON.stringify({ created_at: secondsNow(), quality: 'auto', ...event })}\n\n`
}

function looks({ width, height, format }: Pick<MadeImage, 'width' | 'height' | 'format'>) {
  return { background: 'opaque', output_format: format, size: `${width}x${height}` } as const
}

/** Prompts are counted in CLIP's tokens; a diffusion model has none of images. */
function usageOf({ promptTokens }: Run): OpenAiImagesResponse['usage'] {
  return { input_tokens: promptTokens, output_tokens: 0, total_tokens: promptTokens, input_tokens_details: { text_tokens: promptTokens, image_tokens: 0 } }
}

function dataUrl({ format, bytes }: MadeImage): string {
  return `data:${mimeOf(format)};base64,${bytes.toString('base64')}`
}

function secondsNow(): number {
  return Math.floor(Date.now() / 1000)
}
