import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import {
  HEADERS,
  type Kind,
  KINDS,
  MAX_HEADER_BYTES,
  MalformedMessage,
  PROTOCOL_VERSION,
  type WorkerMessage
} from './protocol.js'

const WORKER_KINDS = ['HELLO', 'HEARTBEAT', 'PROGRESS', 'RESULT', 'FAILED', 'BYE'] as const satisfies readonly Kind[]
type WorkerKind = (typeof WORKER_KINDS)[number]

/** Turns the frames of a worker's message into the message, or throws MalformedMessage. */
export type Decode = (frames: readonly Uint8Array[]) => WorkerMessage

/** Builds the decoder from the forms of the headers. */
export function createDecoder(): Decode {
  const ajv = new Ajv2020({ allowUnionTypes: true })
  const validators = new Map<number, { kind: WorkerKind; validate: ValidateFunction }>()
  for (const kind of WORKER_KINDS) validators.set(KINDS[kind], { kind, validate: ajv.compile(HEADERS[kind]) })
  return (frames) => {
    const [tag, headerFrame, ...binary] = frames
    if (tag === undefined || tag.length !== 2)
      throw new MalformedMessage('prefix', 'the first frame is not kind and version')
    if (tag[1] !== PROTOCOL_VERSION) {
      throw new MalformedMessage('version', `protocol version ${tag[1]}, this gateway speaks ${PROTOCOL_VERSION}`)
    }
    const known = validators.get(tag[0]!)
    if (known === undefined) throw new MalformedMessage('kind', `kind 0x${tag[0]!.toString(16)} is not a worker's`)
    const header = parseHeader(headerFrame)
    if (!known.validate(header)) {
      throw new MalformedMessage(
        'header_field',
        `${known.kind}: ${ajv.errorsText(known.validate.errors, { dataVar: 'header' })}`
      )
    }
    return withBinary(known.kind, header, binary)
  }
}

function parseHeader(frame: Uint8Array | undefined): object {
  if (frame === undefined) throw new MalformedMessage('header_size', 'there is no header')
  if (frame.length > MAX_HEADER_BYTES) throw new MalformedMessage('header_size', `a header of ${frame.length} bytes`)
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(frame))
  } catch (error) {
    throw new MalformedMessage('header_json', `not JSON in UTF-8: ${(error as Error).message}`)
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw new MalformedMessage('header_json', 'the header is not an object')
  return header
}

function withBinary(kind: WorkerKind, header: any, binary: readonly Uint8Array[]): WorkerMessage {
  const picture: { width: number; height: number } | undefined =
    kind === 'RESULT' ? header : kind === 'PROGRESS' ? header.preview : undefined
  const expected = picture === undefined ? 0 : 1
  if (binary.length !== expected)
    throw new MalformedMessage('binary_count', `${kind} with ${binary.length} binary frames, expected ${expected}`)
  if (picture === undefined) return { kind, header } as WorkerMessage
  const pixels = binary[0]!
  const bytes = picture.width * picture.height * 3
  if (pixels.length !== bytes)
    throw new MalformedMessage('binary_size', `${kind} with ${pixels.length} bytes of pixels, expected ${bytes}`)
  return { kind, header, pixels } as WorkerMessage
}
