import { el } from './dom.js'

/**
 * Copies text. Uses a selection over plain http, where browsers disable the clipboard API. @returns whether it worked
 */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    return copySelection(text)
  }
}

function copySelection(text: string): boolean {
  const before = document.activeElement
  const field = el('textarea', { value: text, readOnly: true, className: 'sr-only' })
  document.body.append(field)
  field.select()
  // Deprecated, but the only way outside a secure context.
  const copied = document.execCommand('copy')
  field.remove()
  if (before instanceof HTMLElement) before.focus()
  return copied
}
