import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseSmallObject } from '../../src/image/small-json.js'

const plain = fc.oneof(
  fc.string(),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.boolean(),
  fc.constant(null)
)
const value = fc.oneof(
  plain,
  fc.array(fc.oneof(plain, fc.dictionary(fc.string(), plain, { maxKeys: 4 })), { maxLength: 8 })
)
const small = fc.dictionary(fc.string(), value, { maxKeys: 40 })

describe('parseSmallObject', () => {
  it('parses any small object like JSON.parse', () => {
    fc.assert(
      fc.property(small, fc.constantFrom(undefined, 2), (object, indent) => {
        const text = JSON.stringify(object, undefined, indent)
        expect(parseSmallObject(text)).toEqual(JSON.parse(text))
      })
    )
  })

  it('rejects what is no object, and what is nested more than three deep', () => {
    fc.assert(
      fc.property(plain, fc.string(), (value, key) => {
        for (const other of [[value], 'text', 7, null, { [key]: [[[value]]] }, { [key]: [{ a: [value] }] }])
          expect(parseSmallObject(JSON.stringify(other))).toBeUndefined()
      })
    )
  })

  it('rejects invalid JSON, and allows quotes and brackets inside strings', () => {
    for (const text of ['', '{', '{}{}', '{"a":"}', '{"a":1,}', '{"a":\\"1"}', 'easel {"a":1} "', ']['])
      expect(parseSmallObject(text)).toBeUndefined()
    fc.assert(fc.property(fc.string(), (text) => void parseSmallObject(text)))
    expect(parseSmallObject('{"a":"[[[[{\\"],\\\\"}')).toEqual({ a: '[[[[{"],\\' })
  })

  it('rejects more than 2,048 values', () => {
    const list = (count: number) => JSON.stringify({ sigmas: Array.from({ length: count }, (_, index) => index) })
    expect(parseSmallObject(list(2048))).toBeDefined()
    expect(parseSmallObject(list(2049))).toBeUndefined()
  })
})
