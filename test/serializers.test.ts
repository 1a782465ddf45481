import { expect, it } from 'vitest'
import { sharedSerializers } from '../src/plugins/serializers.js'

const Name = { $id: 'Name', type: 'object', properties: { name: { type: 'string' } } }
const Pair = { $id: 'Pair', type: 'object', properties: { one: { $ref: 'Name#' }, two: { $ref: 'Name#' } } }
const Other = { $id: 'Other', type: 'object', properties: { other: { type: 'string' } } }
const route = (schema: object) => ({ schema, method: 'GET', url: '/', httpStatus: '200' })

it('writes what schemas say, also those that they refer to through others', () => {
  const serialize = sharedSerializers()({ Name, Pair, Other }, {})(route({ $ref: 'Pair#' }))
  expect(serialize({ one: { name: 'a', secret: 1 }, two: { name: 'b' }, more: 2 })).toBe(
    '{"one":{"name":"a"},"two":{"name":"b"}}'
  )
})

it('compiles equal schemas once, for all scopes in which they mean the same', () => {
  const build = sharedSerializers()
  const of = (schemas: object, schema: object) => build(schemas, {})(route(schema))
  const first = of({ Name, Other }, { $ref: 'Name#' })
  expect(of({ Name, Pair }, { $ref: 'Name#' })).toBe(first)
  expect(of({ Name }, { type: 'array', items: { $ref: 'Name#' } })).not.toBe(first)
  const renamed = of({ Name: { ...Name, properties: { title: { type: 'string' } } } }, { $ref: 'Name#' })
  expect(renamed({ name: 'a', title: 'b' })).toBe('{"title":"b"}')
})
