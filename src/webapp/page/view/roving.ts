const STEPS: Readonly<Record<string, number>> = { ArrowLeft: -1, ArrowRight: 1 }

/**
 * Makes the options of a list one tab stop: arrow keys, Home and End move within it. The options are buttons and handle
 * Enter and Space themselves.
 *
 * @see https://www.w3.org/WAI/ARIA/apg/practices/keyboard-interface/#kbd_roving_tabindex
 */
export class Roving {
  readonly #list: HTMLElement

  constructor(list: HTMLElement) {
    this.#list = list
    list.addEventListener('focusin', ({ target }) => this.#stopAt(target))
    list.addEventListener('keydown', (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return
      const options = this.#options
      const next =
        options[
          targetOf(
            event.key,
            options.indexOf(document.activeElement as HTMLElement),
            columnsOf(options),
            options.length
          )
        ]
      if (next === undefined) return
      event.preventDefault()
      next.focus()
    })
  }

  /**
   * Call after options were added, removed or chosen. Makes the focused option the tab stop, else the chosen one, else
   * the first.
   */
  refresh(): void {
    const options = this.#options
    this.#stopAt(
      options.find((option) => option === document.activeElement) ??
        options.find((option) => option.ariaSelected === 'true') ??
        options[0]
    )
  }

  get #options(): HTMLElement[] {
    return [...this.#list.querySelectorAll<HTMLElement>('[role=option]:not([hidden])')]
  }

  #stopAt(stop: EventTarget | null | undefined): void {
    for (const option of this.#options) option.tabIndex = option === stop ? 0 : -1
  }
}

/** The option that a key moves to from `index`; -1 for none. */
export function targetOf(key: string, index: number, columns: number, count: number): number {
  if (index === -1) return -1
  if (key === 'Home') return 0
  if (key === 'End') return count - 1
  const step = STEPS[key] ?? (key === 'ArrowUp' ? -columns : key === 'ArrowDown' ? columns : 0)
  const next = index + step
  if (step === 0 || next < 0) return -1
  // Down to a last row that is shorter moves to its end.
  if (next >= count)
    return key === 'ArrowDown' && Math.floor(index / columns) < Math.floor((count - 1) / columns) ? count - 1 : -1
  return next
}

/** Number of options in a row in the current layout. */
function columnsOf(options: readonly HTMLElement[]): number {
  const below = options.findIndex(({ offsetTop }) => offsetTop > options[0]!.offsetTop)
  return below === -1 ? Math.max(options.length, 1) : below
}
