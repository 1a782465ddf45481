import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import {
  HEADERS,
  type Kind,
  KINDS,
  MAX_HEADER_BYTES,
  MalformedMessage,
  PROTOCOL_VERSION,
  STATES_VERSION,
  type StateForm,
  type WorkerMessage
} from './protocol.js'

const WORKER_KINDS = ['HELLO', 'HEARTBEAT', 'PROGRESS', 'RESULT', 'FAILED', 'BYE'] as const satisfies readonly Kind[]
type WorkerKind = (typeof WORKER_KINDS)[number]

/** Decodes the frames of one worker message. @throws MalformedMessage */
export type Decode = (frames: readonly Uint8Array[]) => WorkerMessage

/** Compiles a decoder from the header schemas. */
export function createDecoder(): Decode {
  const ajv = new Ajv2020({ allowUnionTypes: true })
  const validators = new Map<number, { kind: WorkerKind; validate: ValidateFunction }>()
  for (const kind of WORKER_KINDS) validators.set(KINDS[kind], { kind, validate: ajv.compile(HEADERS[kind]) })
  return (frames) => {
    const [tag, headerFrame, ...binary] = frames
    if (tag === undefined || tag.length !== 2)
      throw new MalformedMessage(
        'prefix',
        `the first frame must be 2 bytes (kind, version), got ${tag?.length ?? 'no frame'}`
      )
    const version = tag[1]!
    if (version !== PROTOCOL_VERSION && version !== STATES_VERSION) {
      throw new MalformedMessage(
        'version',
        `the worker speaks protocol version ${version}, this gateway reads ${PROTOCOL_VERSION} and ${STATES_VERSION}`
      )
    }
    const known = validators.get(tag[0]!)
    if (known === undefined)
      throw new MalformedMessage('kind', `0x${tag[0]!.toString(16)} is not a kind that workers send`)
    const header = parseHeader(headerFrame)
    if (!known.validate(header)) {
      throw new MalformedMessage(
        'header_field',
        `${known.kind}: ${ajv.errorsText(known.validate.errors, { dataVar: 'header' })}`
      )
    }
    return known.kind === 'FAILED' ? withStates(header, binary, version) : withBinary(known.kind, header, binary)
  }
}

function parseHeader(frame: Uint8Array | undefined): object {
  if (frame === undefined) throw new MalformedMessage('header_size', 'the header frame is missing')
  if (frame.length > MAX_HEADER_BYTES)
    throw new MalformedMessage(
      'header_size',
      `the header has ${frame.length} bytes, at most ${MAX_HEADER_BYTES} are allowed`
    )
  let header: unknown
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(frame))
  } catch (error) {
    throw new MalformedMessage('header_json', `the header is not UTF-8 JSON: ${(error as Error).message}`)
  }
  if (typeof header !== 'object' || header === null || Array.isArray(header))
    throw new MalformedMessage('header_json', 'the header is not a JSON object')
  return header
}

function withBinary(kind: WorkerKind, header: any, binary: readonly Uint8Array[]): WorkerMessage {
  const picture = pictureIn(kind, header)
  const expected = picture === undefined ? 0 : 1
  if (binary.length !== expected)
    throw new MalformedMessage('binary_count', `${kind} with ${binary.length} binary frames, expected ${expected}`)
  if (picture === undefined) return { kind, header } as WorkerMessage
  const pixels = binary[0]!
  const bytes = picture.width * picture.height * picture.channels
  if (pixels.length !== bytes)
    throw new MalformedMessage('binary_size', `${kind} with ${pixels.length} bytes of pixels, expected ${bytes}`)
  return { kind, header, pixels } as WorkerMessage
}

function withStates(header: any, frames: readonly Uint8Array[], version: number): WorkerMessage {
  const forms: readonly StateForm[] = header.states ?? []
  if (frames.length !== forms.length || (version === STATES_VERSION) !== forms.length > 0)
    throw new MalformedMessage(
      'binary_count',
      `FAILED of version ${version} with ${frames.length} binary frames and ${forms.length} states`
    )
  for (const [index, { bytes }] of forms.entries())
    if (frames[index]!.length !== bytes)
      throw new MalformedMessage(
        'binary_size',
        `FAILED with ${frames[index]!.length} bytes of a state, expected ${bytes}`
      )
  return { kind: 'FAILED', header, frames }
}

/** What a message's binary frame holds; undefined if it has none. */
function pictureIn(kind: WorkerKind, header: any): { width: number; height: number; channels: number } | undefined {
  if (kind === 'RESULT') return header.latents ?? { ...header, channels: 3 }
  return kind === 'PROGRESS' && header.preview !== undefined ? { ...header.preview, channels: 3 } : undefined
}
