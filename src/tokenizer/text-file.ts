/**
 * Text files of a model folder must be UTF-8, with or without a byte order mark. The worker applies the same rule
 * (easel_worker/text_file.py); test/tokenizer/golden/folders.json tests both.
 */

/** @throws Error when the bytes are not UTF-8 */
export function decodeText(name: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new Error(`${name} is not UTF-8: save it as UTF-8`)
  }
}

/** @throws Error when the text is not a JSON object */
export function parseObject(name: string, text: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new Error(`${name} is not valid JSON: ${(error as Error).message}`, { cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Error(`${name} must hold a JSON object`)
  return value as Readonly<Record<string, unknown>>
}
