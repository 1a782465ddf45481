import { Type, type Static, type TSchema, type TUnsafe } from 'typebox'

/**
 * An optional field that may be null, which clients of other APIs send for unset fields. Uses a list of types: a union
 * would produce an error with one clause for each type.
 */
export const maybe = <T extends TSchema & { type: string; enum?: readonly unknown[] }>({
  type,
  enum: values,
  ...rest
}: T) =>
  Type.Optional(
    Type.Unsafe<Static<T> | null>({
      ...rest,
      type: [type, 'null'],
      ...(values === undefined ? {} : { enum: [...values, null] })
    })
  )

/** A string enum. */
export const oneOf = <const V extends string>(values: readonly V[], description: string) =>
  Type.Unsafe<V>({ type: 'string', enum: [...values], description }) as TUnsafe<V> & { type: 'string' }
