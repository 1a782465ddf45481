import type { GenerateRequest } from '../api/types.js'
import { fileName } from './format.js'

const MIME_TYPES = { png: 'image/png', jpeg: 'image/jpeg', webp: 'image/webp' }

/**
 * The curl command that requests the same picture. It reads what the picture was made from from the files `picture` and
 * `mask`.
 *
 * @param url URL of POST /generate
 */
export function curlCommand(url: string, request: GenerateRequest): string {
  const mimeType = MIME_TYPES[request.output_format ?? 'png']
  return [
    `curl -o ${fileName(request.prompt, request.seed, mimeType)} ${quoted(url)}`,
    ...(isPlain(request)
      ? [`  -H 'content-type: application/json' -H 'accept: ${mimeType}'`, `  -d ${quoted(JSON.stringify(request))}`]
      : [`  -H 'accept: ${mimeType}'`, ...formOf(request)])
  ].join(' \\\n')
}

function isPlain({ image_sha256, controls = [], ip_adapters = [] }: GenerateRequest): boolean {
  return image_sha256 === undefined && controls.length + ip_adapters.length === 0
}

/** The options for a form. Its files are not in the request, so they have general names in this folder. */
function formOf({ image_sha256, mask_image_sha256, ...fields }: GenerateRequest): string[] {
  const texts = Object.entries({ ...fields, image_sha256, mask_image_sha256 })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
  return [
    ...(image_sha256 === undefined ? [] : ['  -F image=@picture']),
    ...(mask_image_sha256 === undefined ? [] : ['  -F mask_image=@mask']),
    ...(fields.controls ?? []).map((_, index) => `  -F control_image=@control${index + 1}`),
    ...(fields.ip_adapters ?? []).map((_, index) => `  -F ip_adapter_image=@reference${index + 1}`),
    // Unlike -F, it has no signs with a meaning of their own.
    ...texts.map((text) => `  --form-string ${quoted(text)}`)
  ]
}

/** Quotes text as one POSIX shell word: within single quotes, only the single quote itself is special. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
