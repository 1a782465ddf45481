import { excerpt } from '../excerpt.js'
import { isObject } from '../is-object.js'

/** A line that is not blank. Its number is from 1, with the blank ones. */
export interface Line {
  readonly number: number
  /** Without its end; undefined if it is too long or not UTF-8. */
  readonly text: string | undefined
  readonly problem?: 'long' | 'encoding'
}

/** What is wrong with a line, or with the file. */
export interface LineError {
  readonly code: string
  readonly message: string
  readonly param: string | null
  readonly line: number | null
}

/** One request of a batch. */
export interface BatchRequest {
  readonly custom_id: string
  readonly body: object
}

/** Longer custom_ids are refused. */
const ID_LENGTH = 512

const NEWLINE = 0x0a

/**
 * Splits bytes, cut anywhere, into lines. Lines end with LF or CRLF, the last one perhaps with nothing; a byte order mark at
 * the beginning is left out.
 *
 * @param most bytes of a line; of a longer one no more is kept
 */
export async function* linesOf(chunks: AsyncIterable<Buffer>, most: number): AsyncGenerator<Line> {
  let parts: Buffer[] = []
  let bytes = 0
  let number = 0
  const take = (part: Buffer) => {
    bytes += part.length
    if (bytes <= most) parts.push(part)
    else parts = []
  }
  const end = (): Line | undefined => {
    number += 1
    const line = lineOf(number, bytes > most ? undefined : Buffer.concat(parts))
    parts = []
    bytes = 0
    return line
  }
  for await (const chunk of chunks) {
    let from = 0
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      take(chunk.subarray(from, at))
      from = at + 1
      const line = end()
      if (line !== undefined) yield line
    }
    take(chunk.subarray(from))
  }
  const last = bytes === 0 ? undefined : end()
  if (last !== undefined) yield last
}

/** Undefined for a blank line. */
function lineOf(number: number, bytes: Buffer | undefined): Line | undefined {
  if (bytes === undefined) return { number, text: undefined, problem: 'long' }
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: number > 1 }).decode(bytes).trim()
    return text === '' ? undefined : { number, text }
  } catch {
    return { number, text: undefined, problem: 'encoding' }
  }
}

/**
 * Reads a line as a request for an endpoint, without looking at its body.
 *
 * @param most bytes of a line
 */
export function readRequest(
  { number: line, text, problem }: Line,
  endpoint: string,
  most: number
): BatchRequest | { error: LineError } {
  const wrong = (code: string, message: string, param: string | null = null) => ({
    error: { code, message, param, line }
  })
  if (problem === 'long') return wrong('invalid_json_line', `The line must be at most ${most} bytes (BODY_LIMIT)`)
  if (problem === 'encoding') return wrong('invalid_json_line', 'The line is not UTF-8: encode its text as UTF-8')
  let value: unknown
  try {
    value = JSON.parse(text!)
  } catch {
    return wrong('invalid_json_line', 'The line is not JSON: put one object, and nothing else, into each line')
  }
  if (!isObject(value)) return wrong('invalid_json_line', 'The line must be a JSON object')
  const { custom_id: id, method, url, body } = value
  for (const name of ['custom_id', 'method', 'url', 'body'])
    if (value[name] === undefined) return wrong('missing_required_parameter', `The line must have ${name}`, name)
  if (typeof id !== 'string' || id === '' || id.length > ID_LENGTH)
    return wrong('invalid_custom_id', `custom_id must be a text of 1 to ${ID_LENGTH} characters`, 'custom_id')
  if (method !== 'POST') return wrong('invalid_method', 'method must be POST', 'method')
  if (url !== endpoint) {
    const said = typeof url === 'string' ? `, not ${JSON.stringify(excerpt(url))}` : ''
    return wrong('invalid_url', `url must be the batch's endpoint, ${endpoint}${said}`, 'url')
  }
  if (!isObject(body)) return wrong('invalid_request', 'body must be a JSON object', 'body')
  return { custom_id: id, body }
}
