import type { GenerateRequest } from '../api/types.js'
import { fileName } from './format.js'

const MIME_TYPES = { png: 'image/png', jpeg: 'image/jpeg', webp: 'image/webp' }

/**
 * The curl command that requests the same picture.
 *
 * @param url URL of POST /generate
 */
export function curlCommand(url: string, request: GenerateRequest): string {
  const mimeType = MIME_TYPES[request.output_format ?? 'png']
  return [
    `curl -o ${fileName(request.prompt, request.seed, mimeType)} ${quoted(url)}`,
    `  -H 'content-type: application/json' -H 'accept: ${mimeType}'`,
    `  -d ${quoted(JSON.stringify(request))}`
  ].join(' \\\n')
}

/** Quotes text as one POSIX shell word: within single quotes, only the single quote itself is special. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
