/** The element of index.html with this id. @throws Error if it is missing or of another type: a bug in the page */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`)
  return found
}

type Props<T> = Partial<Omit<T, 'dataset' | 'style'>> & {
  dataset?: Record<string, string>
  aria?: Record<string, string>
}

/** Creates an element. Strings become text nodes and are never parsed as HTML. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const { dataset, aria, ...rest } = props
  const element = Object.assign(document.createElement(tag), rest)
  Object.assign(element.dataset, dataset)
  for (const [name, value] of Object.entries(aria ?? {})) element.setAttribute(`aria-${name}`, value)
  element.append(...children)
  return element
}

/** Replaces an element's children. Moves only those that changed place, because a moved element loses the focus. */
export function placeChildren(parent: Element, children: readonly Element[]): void {
  const wanted = new Set(children)
  for (const child of Array.from(parent.children)) if (!wanted.has(child)) child.remove()
  for (const [index, child] of children.entries()) {
    const there = parent.children[index]
    if (there !== child) parent.insertBefore(child, there ?? null)
  }
}
