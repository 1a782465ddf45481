import type { Hello } from './protocol.js'

/** What identifies a worker's weights: the model's name, the digest of its files, and the precision. */
export type Weights = Hello['model']

/** Whether workers of these two weights make the same image for the same request. */
export function sameWeights(one: Weights, other: Weights): boolean {
  return one.id === other.id && one.digest === other.digest && one.dtype === other.dtype
}

/** Weights in one line for logs and refusals. The digest is shortened for people. */
export function describeWeights({ id, digest, dtype }: Weights): string {
  return `${id} (${digest.slice(0, 12)}, ${dtype})`
}
