import type { GenerateRequest } from '../api/types.js'
import { fileName } from './format.js'

const MIME_TYPES = { png: 'image/png', jpeg: 'image/jpeg', webp: 'image/webp' }

/**
 * The command that asks for the same picture from a shell.
 *
 * @param url address of POST /generate
 */
export function curlCommand(url: string, request: GenerateRequest): string {
  const mimeType = MIME_TYPES[request.output_format ?? 'png']
  return [
    `curl -o ${fileName(request.prompt, request.seed, mimeType)} ${quoted(url)}`,
    `  -H 'content-type: application/json' -H 'accept: ${mimeType}'`,
    `  -d ${quoted(JSON.stringify(request))}`
  ].join(' \\\n')
}

/** As one word of a POSIX shell: inside single quotes everything but the quote itself stands for itself. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
