import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Busboy } from '@fastify/busboy'
import { EaselError } from '../errors.js'
import { excerpt } from '../excerpt.js'
import { fieldNameOf, type PictureField } from './picture-field.js'
import type { Upload } from './store.js'

export interface FormReading {
  /** The fields of pictures by the names of their parts. A part of a list's pictures may be repeated. */
  readonly pictures: Readonly<Record<string, PictureField>>
  /** Called with the bytes of all other parts so far, before they are kept. Throws to refuse. */
  readonly onText: (bytes: number) => void
  /** Receives the pictures. `filename` is what the client calls the file. */
  readonly uploads: {
    take: (field: string, chunks: AsyncIterable<Buffer>, filename?: string) => Promise<Pick<Upload, 'sha256'>>
  }
}

/** Most parts. A request has far fewer fields. */
const MAX_PARTS = 100
/** Most headers of a part, and their bytes. Browsers send two or three. */
const MAX_HEADERS = 16
const MAX_HEADER_BYTES = 4096

/** The fields of a form by name, as texts; a picture is its SHA-256. */
export type FormFields = ReadonlyMap<string, string>

/**
 * Reads a multipart/form-data body as it arrives and stores the pictures in it.
 *
 * @see https://www.rfc-editor.org/rfc/rfc7578
 * @throws EaselError INVALID_REQUEST; what `onText` and storing a picture throw
 */
export async function readForm(
  body: Readable,
  contentType: string,
  { pictures, onText, uploads }: FormReading
): Promise<FormFields> {
  const parser = parserFor(contentType)
  const fields = new Map<string, string>()
  const parts: { stream: Readable; done: Promise<void> }[] = []
  const counts = new Map<string, number>()
  /** How many parts of this name came before. */
  const counted = (name: string): number => {
    const before = counts.get(name) ?? 0
    counts.set(name, before + 1)
    return before
  }
  let text = 0
  const textOf = async (name: string, stream: Readable): Promise<string> => {
    const chunks: Buffer[] = []
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      text += chunk.length
      onText(text)
      chunks.push(Buffer.from(chunk))
    }
    return decoded(name, Buffer.concat(chunks))
  }
  const receive = async (name: string | undefined, stream: Readable, filename?: string): Promise<void> => {
    if (name === undefined) throw new EaselError('INVALID_REQUEST', 'a part of the form has no name')
    const known = Object.hasOwn(pictures, name) ? pictures[name] : undefined
    const picture = known === undefined ? undefined : fieldNameOf(known, counted(name))
    const field = picture ?? name
    if (fields.has(field)) throw twice(field, picture !== undefined)
    fields.set(field, '')
    if (picture === undefined) fields.set(field, await textOf(name, stream))
    else fields.set(field, (await uploads.take(picture, stream as AsyncIterable<Buffer>, filename)).sha256)
  }
  let failure: unknown
  const fail = (error: unknown) => {
    failure ??= error
    for (const { stream } of parts) stream.destroy()
    body.destroy()
    parser.destroy()
  }
  parser.on('file', (name: string | undefined, stream: Readable, filename?: string) => {
    // A part that ends in the middle reports it to the parser too.
    stream.on('error', () => undefined)
    const done = receive(name, stream, filename).catch(fail)
    parts.push({ stream, done })
  })
  parser.on('partsLimit', () => fail(new EaselError('INVALID_REQUEST', `the form has more than ${MAX_PARTS} parts`)))
  try {
    await pipeline(body, parser)
  } catch (error) {
    fail(error)
  }
  await Promise.all(parts.map(({ done }) => done))
  if (failure !== undefined) throw asEaselError(failure)
  return fields
}

function twice(field: string, isPicture: boolean): EaselError {
  if (isPicture)
    return new EaselError('INVALID_REQUEST', `${field} is given more than once: send one picture`, { field })
  // Its name is the client's text, so it is not the error's field, which is logged.
  return new EaselError('INVALID_REQUEST', `${excerpt(field)} is given more than once`)
}

function parserFor(contentType: string) {
  try {
    return new Busboy({
      headers: { 'content-type': contentType },
      // All parts are streams of bytes: texts are decoded strictly here, and a file without a file name is a file.
      isPartAFile: () => true,
      limits: { parts: MAX_PARTS, headerPairs: MAX_HEADERS, headerSize: MAX_HEADER_BYTES }
    })
  } catch (cause) {
    throw new EaselError('INVALID_REQUEST', 'content-type must be multipart/form-data with its boundary', {
      field: 'content-type',
      cause
    })
  }
}

function decoded(name: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new EaselError('INVALID_REQUEST', `${excerpt(name)} is not UTF-8: encode its text as UTF-8`, { cause })
  }
}

/** The parser's own errors are about the form. Those of the connection pass. */
function asEaselError(error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException
  if (error instanceof EaselError || code !== undefined) return error
  return new EaselError('INVALID_REQUEST', `the form is malformed: ${message}`, { cause: error })
}
