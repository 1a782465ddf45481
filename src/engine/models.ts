import type { Hello } from './protocol.js'

type Model = Hello['model']

/** Whether two workers make the same images of the same request. */
export function sameModel(one: Model, other: Model): boolean {
  return one.id === other.id && one.digest === other.digest && one.dtype === other.dtype
}

/** A model as a log or a refusal names it: its digest short, as only its beginning is ever compared by eye. */
export function nameOf({ id, digest, dtype }: Model): string {
  return `${id} (${digest.slice(0, 12)}, ${dtype})`
}
