import type { Hello } from './protocol.js'

type Size = Hello['sizes'][number]

/** Whether a size is one of them. */
export function includesSize(sizes: readonly Size[], { width, height }: { width: number; height: number }): boolean {
  return sizes.some(([w, h]) => w === width && h === height)
}

/** What a worker said, with the sizes that are there now; they are not coming any more. */
export function withSizes(hello: Hello, sizes: Hello['sizes']): Hello {
  const coming = (hello.coming ?? []).filter(([width, height]) => !includesSize(sizes, { width, height }))
  return { ...hello, sizes, coming }
}

/** What several workers of one model offer together, as the latest of them says it. */
export function together(latest: Hello, all: readonly Hello[]): Hello {
  const [sizes, coming] = [all.flatMap((hello) => hello.sizes), all.flatMap((hello) => hello.coming ?? [])].map(unique)
  return withSizes({ ...latest, coming: coming! }, sizes!)
}

function unique(sizes: readonly Size[]): Size[] {
  return [...new Map(sizes.map((size) => [size.join('x'), size])).values()]
}
