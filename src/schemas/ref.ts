import { Type, type Static, type TSchema } from 'typebox'

/** A reference to a schema that the application knows by its `$id`: one component in the OpenAPI document, not a copy for each use. */
export function ref<T extends TSchema & { $id?: string }>(schema: T) {
  if (schema.$id === undefined) throw new Error('only a schema with an $id can be referred to')
  return Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` })
}
