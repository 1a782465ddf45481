import fc from 'fast-check'
import { Type } from 'typebox'
import { expect, it } from 'vitest'
import { valuesOf } from '../../src/schemas/form-values.js'

const properties = {
  whole: Type.Integer(),
  number: Type.Unsafe<number | null>({ type: ['number', 'null'] }),
  flag: Type.Boolean(),
  list: Type.Array(Type.Number()),
  text: Type.String()
}

const read = (fields: Record<string, string>) => valuesOf(new Map(Object.entries(fields)), properties)

it('gives back any values that were written as JSON, and texts as they are', () => {
  const values = fc.record({
    whole: fc.integer(),
    number: fc.double({ noNaN: true, noDefaultInfinity: true }),
    flag: fc.boolean(),
    list: fc.array(fc.double({ noNaN: true, noDefaultInfinity: true })),
    text: fc.string(),
    other: fc.string()
  })
  fc.assert(
    fc.property(values, ({ text, other, ...values }) => {
      const texts = Object.entries(values).map(([name, value]) => [name, JSON.stringify(value)])
      // JSON has no negative zero.
      const expected = JSON.parse(JSON.stringify({ text, other, ...values })) as object
      expect(JSON.parse(JSON.stringify(read({ text, other, ...Object.fromEntries(texts) })))).toEqual(expected)
    })
  )
})

it.each([
  ['whole', ''],
  ['whole', 'seven'],
  ['whole', '0x10'],
  ['number', 'NaN'],
  ['number', 'Infinity'],
  ['number', '1,5'],
  ['number', ' 1'],
  ['flag', 'yes'],
  ['flag', '1'],
  ['flag', 'toString'],
  ['list', '[1,'],
  ['list', 'x'],
  ['unknown', '5'],
  ['__proto__', '{"polluted":true}'],
  ['constructor', '5']
])('leaves a text that is no value of %s to the schema: %j', (name, text) => {
  const values = valuesOf(new Map([[name, text]]), properties)
  expect(Object.entries(values)).toEqual([[name, text]])
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
})
