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

/** The latest HELLO, with the union of the sizes of all workers. For features and limits see `abilitiesOf`. */
export function together(latest: Hello, all: readonly Hello[]): Hello {
  const [sizes, coming] = [all.flatMap((hello) => hello.sizes), all.flatMap((hello) => hello.coming ?? [])].map(unique)
  return withSizes({ ...latest, coming: coming! }, sizes!)
}

function unique(sizes: readonly Size[]): Size[] {
  return [...new Map(sizes.map((size) => [size.join('x'), size])).values()]
}
