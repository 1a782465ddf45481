import { Type, type Static, type TSchema } from 'typebox'

/**
 * A reference to a registered schema by its `$id`, so that the OpenAPI document has one component instead of copies.
 */
export function ref<T extends TSchema & { $id?: string }>(schema: T) {
  if (schema.$id === undefined) throw new Error('the schema has no $id to refer to: give it one')
  return Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` })
}
