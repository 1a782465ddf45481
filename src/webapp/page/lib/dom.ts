/** The element of index.html with this id. @throws Error when the page has none of this kind, which is a mistake in the page */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`)
  return found
}

type Props<T> = Partial<Omit<T, 'dataset' | 'style'>> & {
  dataset?: Record<string, string>
  aria?: Record<string, string>
}

/** Makes an element. Text is always text: nothing here reads HTML. */
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

/** Gives an element these children. It moves only what has changed: an element that is moved loses the focus. */
export function placeChildren(parent: Element, children: readonly Element[]): void {
  const wanted = new Set(children)
  for (const child of Array.from(parent.children)) if (!wanted.has(child)) child.remove()
  for (const [index, child] of children.entries()) {
    const there = parent.children[index]
    if (there !== child) parent.insertBefore(child, there ?? null)
  }
}
