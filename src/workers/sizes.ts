import type { Hello } from './protocol.js'

type Size = Hello['sizes'][number]

/** Whether `sizes` includes a size. */
export function includesSize(sizes: readonly Size[], { width, height }: { width: number; height: number }): boolean {
  return sizes.some(([w, h]) => w === width && h === height)
}

/** A HELLO updated with the compiled sizes, which are removed from `coming`. */
export function withSizes(hello: Hello, sizes: Hello['sizes']): Hello {
  const coming = (hello.coming ?? []).filter(([width, height]) => !includesSize(sizes, { width, height }))
  return { ...hello, sizes, coming }
}

/** The sizes of all lists, each once, in order of appearance. */
export function unionOfSizes(lists: readonly (readonly Size[])[]): Size[] {
  return [...new Map(lists.flat().map((size) => [size.join('x'), size])).values()]
}
