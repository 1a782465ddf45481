import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { createDecoder } from '../../src/workers/codec.js'
import { type GatewayMessage, KINDS, MalformedMessage, pack, PROTOCOL_VERSION } from '../../src/workers/protocol.js'

interface Golden {
  name: string
  direction: 'to-gateway' | 'to-worker'
  /** base64 */
  frames: string[]
  valid: boolean
  kind?: string
  message?: object
  error?: string
}

const folder = join(packageRoot, 'protocol/golden')
const goldens = readdirSync(folder).map((file) => JSON.parse(readFileSync(join(folder, file), 'utf8')) as Golden)
const decode = createDecoder()
const framesOf = (golden: Golden) => golden.frames.map((frame) => Buffer.from(frame, 'base64'))

const incoming = goldens.filter(({ direction }) => direction === 'to-gateway')
const outgoing = goldens.filter(({ direction, valid }) => direction === 'to-worker' && valid)

describe('golden frames', () => {
  it('cover every message kind', () => {
    const kinds = goldens.filter(({ valid }) => valid).map(({ kind }) => kind)
    expect(new Set(kinds)).toEqual(new Set(Object.keys(KINDS)))
  })

  it.each(incoming.filter(({ valid }) => valid))('from a worker decode: $name', (golden) => {
    const message = decode(framesOf(golden))
    expect(message.kind).toBe(golden.kind)
    expect(message.header).toMatchObject(golden.message!)
    const [, , ...binary] = framesOf(golden)
    if ('frames' in message) expect(message.frames).toEqual(binary)
    else expect('pixels' in message ? [message.pixels] : []).toEqual(binary)
  })

  it.each(incoming.filter(({ valid }) => !valid))(
    'from a worker are rejected for the right reason: $name',
    (golden) => {
      const error = capture(() => decode(framesOf(golden)))
      expect(error).toBeInstanceOf(MalformedMessage)
      expect((error as MalformedMessage).reason).toBe(golden.error)
    }
  )

  it.each(outgoing)('to a worker equal what the gateway sends: $name', (golden) => {
    const [goldenTag, goldenHeader, ...frames] = framesOf(golden)
    const [tag, header, ...binary] = pack({ kind: golden.kind, header: golden.message, frames } as GatewayMessage)
    expect(tag).toEqual(goldenTag)
    expect(JSON.parse(header!.toString())).toMatchObject(JSON.parse(goldenHeader!.toString()) as object)
    expect(binary).toEqual(frames)
  })
})

describe('arbitrary frames', () => {
  const frame = fc.uint8Array({ maxLength: 40 })
  const tag = fc.constantFrom(...Object.values(KINDS)).map((kind) => Uint8Array.of(kind, PROTOCOL_VERSION))
  const header = fc.json().map((text) => Buffer.from(text))

  it('decode to a message or throw MalformedMessage, nothing else', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.array(frame), fc.tuple(tag, fc.oneof(frame, header)), fc.tuple(tag, header, frame)),
        (frames) => {
          const error = capture(() => decode(frames))
          expect(error === undefined || error instanceof MalformedMessage).toBe(true)
        }
      ),
      { numRuns: 2000 }
    )
  })

  it('with one flipped bit decode to a message or throw MalformedMessage', () => {
    const good = incoming.filter(({ valid }) => valid).map(framesOf)
    fc.assert(
      fc.property(
        fc.constantFrom(...good),
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (frames, which, where, change) => {
          const damaged = frames.map((bytes) => Buffer.from(bytes))
          const target = damaged[which % damaged.length]!
          target[where % target.length]! ^= change
          const error = capture(() => decode(damaged))
          expect(error === undefined || error instanceof MalformedMessage).toBe(true)
        }
      ),
      { numRuns: 2000 }
    )
  })
})

function capture(work: () => unknown): unknown {
  try {
    work()
    return undefined
  } catch (error) {
    return error
  }
}
