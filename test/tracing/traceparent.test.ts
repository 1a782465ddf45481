import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { childOf, formatTraceparent, parseTraceparent } from '../../src/tracing/traceparent.js'

const hex = (length: number) =>
  fc
    .string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
    .filter((text) => !/^0+$/.test(text))
const contexts = fc.record({ traceId: hex(32), spanId: hex(16), sampled: fc.boolean() })

describe('traceparent', () => {
  it('survives a round trip', () => {
    fc.assert(
      fc.property(contexts, (context) => {
        expect(parseTraceparent(formatTraceparent(context))).toEqual(context)
      })
    )
  })

  it('of a later version is parsed by its known fields', () => {
    expect(parseTraceparent(`01-${'a'.repeat(32)}-${'b'.repeat(16)}-03-more`)).toEqual({
      traceId: 'a'.repeat(32),
      spanId: 'b'.repeat(16),
      sampled: true
    })
  })

  it.each([
    undefined,
    '',
    'nonsense',
    `00-${'0'.repeat(32)}-${'b'.repeat(16)}-01`,
    `00-${'a'.repeat(32)}-${'0'.repeat(16)}-01`,
    `ff-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01-more`,
    `00-${'A'.repeat(32)}-${'b'.repeat(16)}-01`
  ])('rejects %j', (header) => {
    expect(parseTraceparent(header)).toBeUndefined()
  })

  it("a child joins its parent's trace, or starts its own without a parent", () => {
    fc.assert(
      fc.property(fc.option(contexts, { nil: undefined }), (parent) => {
        const child = childOf(parent)
        expect(parseTraceparent(formatTraceparent(child))).toEqual(child)
        expect(child.spanId).not.toBe(parent?.spanId)
        if (parent !== undefined) expect(child).toMatchObject({ traceId: parent.traceId, sampled: parent.sampled })
      })
    )
  })
})
