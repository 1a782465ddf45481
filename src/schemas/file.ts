import { Type } from 'typebox'

/** An optional field of a form that is a file. */
export const file = (description: string) => Type.Optional(Type.String({ format: 'binary', description }))

/** The same, any number of times. */
export const files = (description: string) =>
  Type.Optional(Type.Array(Type.String({ format: 'binary' }), { description }))
