import { EaselError } from '../errors.js'

/** A data URL's head may have parameters, but none of use here. */
const MAX_HEAD = 256
const COMMA = 0x2c

const ALPHABET = /^[A-Za-z0-9+/_-]*$/
const PADDING = /^=*$/
/** Line breaks, which some encoders write. */
const BREAKS = /[\r\n]+/g

/**
 * Decodes base64, or a `data:` URL with base64, as it arrives. Both alphabets; padding may be missing.
 *
 * @param field for errors
 * @param text in ASCII, in any pieces
 * @throws EaselError INVALID_REQUEST
 */
export async function* base64Of(field: string, text: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest = ''
  let padding = 0
  for await (const piece of withoutHead(field, text)) {
    const [letters, equals] = splitPadding(piece.toString('latin1').replaceAll(BREAKS, ''))
    if (!ALPHABET.test(letters) || !PADDING.test(equals) || (padding > 0 && letters !== '')) throw notBase64(field)
    padding += equals.length
    if (padding > 2) throw notBase64(field)
    const whole = rest + letters
    const end = whole.length - (whole.length % 4)
    rest = whole.slice(end)
    if (end > 0) yield Buffer.from(whole.slice(0, end), 'base64')
  }
  if (rest.length === 1 || (padding > 0 && rest.length + padding !== 4)) throw notBase64(field)
  if (rest.length > 0) yield Buffer.from(rest, 'base64')
}

function splitPadding(text: string): [letters: string, equals: string] {
  const at = text.indexOf('=')
  return at === -1 ? [text, ''] : [text.slice(0, at), text.slice(at)]
}

/** Removes the head of a data URL. */
async function* withoutHead(field: string, text: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0)
  for await (const piece of text) {
    if (head === undefined) {
      yield piece
      continue
    }
    head = Buffer.concat([head, piece])
    if (head.length < MAX_HEAD && !head.includes(COMMA)) continue
    yield bodyOf(field, head)
    head = undefined
  }
  if (head !== undefined) yield bodyOf(field, head)
}

function bodyOf(field: string, start: Buffer): Buffer {
  const scheme = /^([a-z]{2,10}):/i.exec(start.toString('latin1', 0, 16))?.[1]?.toLowerCase()
  if (scheme === undefined) return start
  if (scheme !== 'data')
    throw new EaselError(
      'INVALID_REQUEST',
      `${field} must hold the picture itself, in base64 or as a data: URL: this server fetches nothing`,
      { field }
    )
  const comma = start.subarray(0, MAX_HEAD).indexOf(COMMA)
  if (comma === -1 || !/;base64$/i.test(start.toString('latin1', 0, comma)))
    throw new EaselError('INVALID_REQUEST', `${field} must be a data: URL in base64, data:image/png;base64,...`, {
      field
    })
  return start.subarray(comma + 1)
}

function notBase64(field: string): EaselError {
  return new EaselError('INVALID_REQUEST', `${field} is not base64: send the picture's bytes in base64`, { field })
}
