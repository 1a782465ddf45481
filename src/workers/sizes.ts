import type { Heartbeat, Hello } from './protocol.js'

type Size = Hello['sizes'][number]

/** Whether `sizes` includes a size. */
export function includesSize(sizes: readonly Size[], { width, height }: { width: number; height: number }): boolean {
  return sizes.some(([w, h]) => w === width && h === height)
}

/**
 * A HELLO updated with what a worker has compiled and which LoRAs it has found since; undefined if that is nothing new. Compiled sizes are removed
 * from `coming`.
 */
export function withHeartbeat(hello: Hello, heartbeat: Heartbeat): Hello | undefined {
  const { sizes = hello.sizes, features = hello.features ?? [], max_chunks = hello.limits.max_chunks ?? 1 } = heartbeat
  const { loras = hello.loras } = heartbeat
  const same =
    sizes.length === hello.sizes.length &&
    features.join() === (hello.features ?? []).join() &&
    max_chunks === (hello.limits.max_chunks ?? 1) &&
    (loras === hello.loras || JSON.stringify(loras) === JSON.stringify(hello.loras))
  if (same) return undefined
  const coming = (hello.coming ?? []).filter(([width, height]) => !includesSize(sizes, { width, height }))
  const now = { ...hello, sizes, coming, features, limits: { ...hello.limits, max_chunks } }
  return loras === undefined ? now : { ...now, loras }
}

/** The sizes of all lists, each once, in order of appearance. */
export function unionOfSizes(lists: readonly (readonly Size[])[]): Size[] {
  return [...new Map(lists.flat().map((size) => [size.join('x'), size])).values()]
}
