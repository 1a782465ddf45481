import { mimeOf } from '../../image/formats.js'
import type { OpenAiImagesResponse } from '../../schemas/openai.js'
import type { Finished, ImageFile, Run } from '../../service/run.js'
import { joined, jsonWithFile, type Piece } from '../answers/body.js'
import type { PiecesOf } from '../answers/events.js'
import { openAiError } from './errors.js'

/**
 * The finished request as an `OpenAiImagesResponse`.
 *
 * @param urls where the images can be read, if they were stored; else `url` gives data: URLs
 */
export function imagesResponse(
  run: Run,
  { images }: Finished,
  format: 'b64_json' | 'url',
  urls?: readonly string[]
): Piece[] {
  const [first] = images
  const fileOf = ({ format: fileFormat, bytes }: ImageFile, index: number) => {
    if (format === 'b64_json') return jsonWithFile({}, 'b64_json', bytes)
    const url = urls?.[index]
    return url === undefined
      ? jsonWithFile({}, 'url', bytes, `data:${mimeOf(fileFormat)};base64,`)
      : [JSON.stringify({ url })]
  }
  return imagesBody(joined(images.map(fileOf), ','), first!, run, secondsNow())
}

/**
 * Pieces of an `OpenAiImagesResponse`.
 *
 * @param data the pieces of the list's items, with commas between them
 * @param created in seconds since 1970
 */
export function imagesBody<T>(
  data: readonly T[],
  first: ImageKind,
  run: Pick<Run, 'prompts'>,
  created: number
): (T | string)[] {
  const rest = JSON.stringify({ ...fieldsOf(first), usage: usageOf(run) }).slice(1)
  return [`{"created":${created},"data":[`, ...data, `],${rest}`]
}

/**
 * Serializes events as the OpenAI API streams them: up to `partialImages` previews of each image, then the image.
 *
 * @see https://platform.openai.com/docs/api-reference/images-streaming
 */
export function streamPieces(run: Run, partialImages: number, kind: 'image_generation' | 'image_edit'): PiecesOf {
  const previews = new Map<number, number>()
  return (event) => {
    if (event.type === 'preview') {
      const index = previews.get(event.image) ?? 0
      previews.set(event.image, index + 1)
      if (index >= partialImages) return []
      const { width, height, jpeg } = event
      return piecesOf(
        {
          type: `${kind}.partial_image`,
          partial_image_index: index,
          ...fieldsOf({ width, height, format: 'jpeg' })
        },
        jpeg
      )
    }
    if (event.type === 'image')
      return piecesOf({ type: `${kind}.completed`, ...fieldsOf(event.image), usage: usageOf(run) }, event.image.bytes)
    return event.type === 'error' ? piecesOf({ type: 'error', ...openAiError(event.error) }) : []
  }
}

function piecesOf(event: { type: string; [field: string]: unknown }, file?: Buffer): Piece[] {
  const data = { created_at: secondsNow(), quality: 'auto', ...event }
  return [
    `event: ${event.type}\ndata: `,
    ...(file === undefined ? [JSON.stringify(data)] : jsonWithFile(data, 'b64_json', file)),
    '\n\n'
  ]
}

type ImageKind = Pick<ImageFile, 'width' | 'height' | 'format'>

function fieldsOf({ width, height, format }: ImageKind) {
  return { background: 'opaque', output_format: format, size: `${width}x${height}` } as const
}

/** Counts prompts in CLIP tokens. Image tokens are 0: a diffusion model has none. */
function usageOf({ prompts }: Pick<Run, 'prompts'>): OpenAiImagesResponse['usage'] {
  const { total } = prompts.usage
  return {
    input_tokens: total,
    output_tokens: 0,
    total_tokens: total,
    input_tokens_details: { text_tokens: total, image_tokens: 0 }
  }
}

function secondsNow(): number {
  return Math.floor(Date.now() / 1000)
}
