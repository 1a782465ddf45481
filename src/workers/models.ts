import type { Hello } from './protocol.js'

type Model = Hello['model']

/** Whether workers of these two models make the same image for the same request. */
export function sameModel(one: Model, other: Model): boolean {
  return one.id === other.id && one.digest === other.digest && one.dtype === other.dtype
}

/** A model's name for logs and refusals. The digest is shortened for people. */
export function nameOf({ id, digest, dtype }: Model): string {
  return `${id} (${digest.slice(0, 12)}, ${dtype})`
}
