/** What is wrong with which field, said beside it. */
export class FieldErrors {
  readonly #form: HTMLFormElement

  constructor(form: HTMLFormElement) {
    this.#form = form
  }

  /** Looks at every field, and leads to the first that is wrong. @returns whether all are right */
  check(): boolean {
    this.clear()
    for (const field of this.#form.elements) {
      const message = problem(field)
      if (message !== undefined) return this.show((field as HTMLInputElement).name, message) && false
    }
    return true
  }

  /** Says what is wrong with a field. @returns whether the form has such a field */
  show(name: string, message: string): boolean {
    // A size is chosen whole.
    const field = document.getElementById(name === 'height' ? 'width' : name) ?? this.#form.querySelector<HTMLElement>('.sizes input')
    const line = document.getElementById(`${name === 'height' ? 'width' : name}-error`)
    if (line === null || field === null) return false
    line.textContent = message
    field.setAttribute('aria-invalid', 'true')
    const details = field.closest('details')
    if (details !== null) details.open = true
    field.focus()
    return true
  }

  clear(): void {
    for (const line of this.#form.querySelectorAll('.field-error')) line.textContent = ''
    for (const field of this.#form.querySelectorAll('[aria-invalid]')) field.removeAttribute('aria-invalid')
  }
}

function problem(field: Element): string | undefined {
  if (field instanceof HTMLTextAreaElement && field.name === 'prompt' && field.value.trim() === '') return 'Say what the picture shows.'
  if (!(field instanceof HTMLInputElement) || field.type !== 'number' || field.validity.valid) return undefined
  if (field.closest('[hidden]') !== null) return undefined
  const whole = field.step === '1' ? 'a whole number' : 'a number'
  return `Give ${whole} from ${field.min} to ${field.max}.`
}
