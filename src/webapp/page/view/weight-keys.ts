import { changeWeight, type WeightSyntax } from '../model/weights.js'

const DIRECTIONS: Readonly<Record<string, 1 | -1>> = { ArrowUp: 1, ArrowDown: -1 }

type Syntax = () => WeightSyntax | undefined

/**
 * Ctrl+Up and Ctrl+Down (⌘ on a Mac) change the weight of the selected text, or of the word at the cursor.
 *
 * @param syntax how to write weights; undefined to ignore the keys
 */
export function startWeightKeys(field: HTMLTextAreaElement, syntax: Syntax): void {
  field.addEventListener('keydown', (event) => {
    const direction = DIRECTIONS[event.key]
    if (direction === undefined || !(event.ctrlKey || event.metaKey) || event.altKey || event.shiftKey) return
    if (change(field, direction, syntax)) event.preventDefault()
  })
}

/**
 * Buttons that do the same, for touch. They leave the focus, and so the selection, in the field. They are no tab stops:
 * the keys do the same.
 */
export function startWeightButtons(buttons: Iterable<HTMLButtonElement>, syntax: Syntax): void {
  for (const button of buttons) {
    const field = document.getElementById(button.dataset['for']!) as HTMLTextAreaElement
    button.addEventListener('pointerdown', (event) => event.preventDefault())
    button.addEventListener('click', () => {
      field.focus()
      change(field, button.dataset['weigh'] === '1' ? 1 : -1, syntax)
    })
  }
}

/** @returns whether weights can be changed here, even if there was nothing to weight */
function change(field: HTMLTextAreaElement, direction: 1 | -1, syntax: Syntax): boolean {
  const written = syntax()
  if (written === undefined) return false
  const edit = changeWeight(field.value, [field.selectionStart, field.selectionEnd], direction, written)
  if (edit === undefined) return true
  field.setSelectionRange(edit.from, edit.to)
  insert(field, edit.text)
  field.setSelectionRange(...edit.select)
  return true
}

/** Replaces the selection so that the browser's own undo restores it. */
function insert(field: HTMLTextAreaElement, text: string): void {
  // Deprecated, but the only way to add to the undo history of a field.
  if (document.execCommand('insertText', false, text)) return
  field.setRangeText(text)
  field.dispatchEvent(new Event('input', { bubbles: true }))
}
