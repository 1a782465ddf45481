import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseFlatObject } from '../../src/image/flat-json.js'

const flat = fc.dictionary(
  fc.string(),
  fc.oneof(
    fc.string(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.boolean(),
    fc.constant(null)
  ),
  { maxKeys: 60 }
)

describe('parseFlatObject', () => {
  it('parses any flat object like JSON.parse', () => {
    fc.assert(
      fc.property(flat, fc.constantFrom(undefined, 2), (object, indent) => {
        const text = JSON.stringify(object, undefined, indent)
        expect(parseFlatObject(text)).toEqual(JSON.parse(text))
      })
    )
  })

  it('rejects anything nested or not an object', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.string(), (value, key) => {
        for (const other of [[value], { [key]: { a: value } }, { [key]: [value] }, 'text', 7, null])
          expect(parseFlatObject(JSON.stringify(other))).toBeUndefined()
      })
    )
  })

  it('rejects invalid JSON, and allows quotes and braces inside strings', () => {
    for (const text of ['', '{', '{}{}', '{"a":"}', '{"a":1,}', '{"a":\\"1"}', 'easel {"a":1} "'])
      expect(parseFlatObject(text)).toBeUndefined()
    fc.assert(fc.property(fc.string(), (text) => void parseFlatObject(text)))
    expect(parseFlatObject('{"a":"[{\\"],\\\\"}')).toEqual({ a: '[{"],\\' })
  })

  it('rejects more than 64 fields', () => {
    const fields = (count: number) =>
      JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}`, index])))
    expect(parseFlatObject(fields(64))).toBeDefined()
    expect(parseFlatObject(fields(65))).toBeUndefined()
  })
})
