import type { Heartbeat, Hello } from './protocol.js'

type Size = Hello['sizes'][number]

/** Whether `sizes` includes a size. */
export function includesSize(sizes: readonly Size[], { width, height }: { width: number; height: number }): boolean {
  return sizes.some(([w, h]) => w === width && h === height)
}

/** What a worker has files of. */
export const LISTS = ['loras', 'embeddings', 'controls', 'ip_adapters'] as const

/**
 * A HELLO updated with what a worker has compiled, given up to compile and found since; undefined if that is nothing
 * new. Older workers do not say what is still coming: what they have compiled is not.
 */
export function withHeartbeat(hello: Hello, heartbeat: Heartbeat): Hello | undefined {
  const before = compiledBy(hello)
  const { sizes = before.sizes, features = before.features, max_chunks = before.max_chunks } = heartbeat
  const now = {
    sizes,
    features,
    max_chunks,
    coming: heartbeat.coming ?? without(before.coming, sizes),
    coming_features: heartbeat.coming_features ?? before.coming_features.filter((name) => !features.includes(name)),
    coming_max_chunks: heartbeat.coming_max_chunks ?? before.coming_max_chunks
  }
  const same = (one: unknown, other: unknown) => one === other || JSON.stringify(one) === JSON.stringify(other)
  const listed = LISTS.flatMap((list) => (heartbeat[list] === undefined ? [] : [[list, heartbeat[list]] as const]))
  if (same(now, before) && listed.every(([list, files]) => same(files, hello[list]))) return undefined
  const { max_chunks: _, ...rest } = now
  return {
    ...hello,
    ...rest,
    limits: { ...hello.limits, max_chunks },
    ...Object.fromEntries(listed)
  }
}

/** What a HELLO says about programs, which heartbeats say again. */
function compiledBy({ sizes, features = [], limits, ...hello }: Hello) {
  const { coming = [], coming_features = [], coming_max_chunks = 1 } = hello
  return { sizes, features, max_chunks: limits.max_chunks ?? 1, coming, coming_features, coming_max_chunks }
}

function without(coming: readonly Size[], sizes: readonly Size[]): Size[] {
  return coming.filter(([width, height]) => !includesSize(sizes, { width, height }))
}

/** The sizes of all lists, each once, in order of appearance. */
export function unionOfSizes(lists: readonly (readonly Size[])[]): Size[] {
  return [...new Map(lists.flat().map((size) => [size.join('x'), size])).values()]
}
