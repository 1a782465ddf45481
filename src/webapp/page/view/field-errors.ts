import { el } from '../lib/dom.js'

/** A fix offered beside the error. */
export interface Offer {
  text: string
  act: () => void
}

/** Shows errors beside their fields. */
export class FieldErrors {
  readonly #form: HTMLFormElement

  constructor(form: HTMLFormElement) {
    this.#form = form
  }

  /** Marks every invalid field and focuses the first. @returns how many are invalid */
  check(): number {
    this.clear()
    const wrong = [...this.#form.elements].flatMap((field) => {
      const message = problem(field, this.#form)
      return message === undefined ? [] : { field: field as HTMLInputElement, message }
    })
    for (const { field, message } of wrong) this.#mark(field.name, message)
    if (wrong[0] !== undefined) this.#target(wrong[0].field.name)?.focus()
    return wrong.length
  }

  /** Shows an error beside a field and focuses it. @returns whether the form has the field */
  show(name: string, message: string, offer?: Offer): boolean {
    const field = this.#mark(name, message, offer)
    field?.focus()
    return field !== undefined
  }

  /** Clears the errors of these fields; without names, of all fields. */
  clear(names?: readonly string[]): void {
    for (const line of this.#form.querySelectorAll('.field-error:not(:empty)')) {
      const name = line.id.replace(/-error$/, '')
      if (names !== undefined && !names.map(lineOf).includes(name)) continue
      line.textContent = ''
      if (line.nextElementSibling?.classList.contains('offer')) line.nextElementSibling.remove()
      this.#target(name)?.removeAttribute('aria-invalid')
    }
  }

  #mark(name: string, message: string, offer?: Offer): HTMLElement | undefined {
    const field = this.#target(name)
    const line = document.getElementById(`${lineOf(name)}-error`)
    if (line === null || field === undefined) return undefined
    this.clear([name])
    line.textContent = message
    if (offer !== undefined) {
      const button = el('button', { type: 'button', className: 'offer' }, offer.text)
      button.addEventListener('click', offer.act)
      line.after(button)
    }
    field.setAttribute('aria-invalid', 'true')
    field.closest('[data-optional][hidden]')?.removeAttribute('hidden')
    const details = field.closest('details')
    if (details !== null) details.open = true
    return field
  }

  #target(name: string): HTMLElement | undefined {
    const line = lineOf(name)
    return (
      document.getElementById(line) ??
      (line === 'width' ? this.#form.querySelector<HTMLElement>('.sizes input') : null) ??
      undefined
    )
  }
}

/** Errors for `height` and `size` appear at the size chooser, which has the error line named `width`. */
function lineOf(name: string): string {
  if (name === 'height' || name === 'size') return 'width'
  // An error about an entry of a list, such as controls[0].image, is at the list.
  return name.replace(/\[.*$/, '')
}

function problem(field: Element, form: HTMLFormElement): string | undefined {
  // A button that opens a choice.
  if (field instanceof HTMLButtonElement) return field.dataset['problem']
  if (field instanceof HTMLTextAreaElement) return problemOfText(field)
  if (field instanceof HTMLSelectElement)
    return field.selectedOptions[0]?.dataset['missing'] === undefined || field.closest('[hidden]') !== null
      ? undefined
      : `This server does not offer ${field.value}.`
  if (!(field instanceof HTMLInputElement) || field.type !== 'number' || field.closest('[hidden]') !== null)
    return undefined
  if (field.validity.valid) return field.name === 'guidance_end' ? problemOfInterval(form) : undefined
  return `Enter ${field.step === '1' ? 'a whole number' : 'a number'} from ${field.min} to ${field.max}.`
}

function problemOfText({ name, value, dataset }: HTMLTextAreaElement): string | undefined {
  if (name === 'prompt' && value.trim() === '') return 'Enter a prompt.'
  const most = Number(dataset['most'])
  const { length } = value.trim()
  return length > most
    ? `This text has ${length.toLocaleString('en')} characters; the limit is ${most.toLocaleString('en')}.`
    : undefined
}

function problemOfInterval(form: HTMLFormElement): string | undefined {
  const [start, end] = ['guidance_start', 'guidance_end'].map((name) => {
    const { value, dataset } = form.elements.namedItem(name) as HTMLInputElement
    return Number(value === '' ? dataset['preset'] : value)
  })
  return start! > end! ? `Guidance cannot end before its start (${start}).` : undefined
}
