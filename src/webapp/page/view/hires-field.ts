import type { Health } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { ratioName } from '../lib/format.js'
import { type HiresChoices, hiresSteps } from '../model/hires.js'
import { sizeName } from '../model/settings.js'

/** The second pass at another size. Hidden if the chosen model makes none, and beside a picture to start from. */
export class HiresField {
  readonly #field = byId('hires-field', HTMLDivElement)
  readonly #select = byId('hires', HTMLSelectElement)
  readonly #steps = byId('hires_steps', HTMLInputElement)
  readonly #note = byId('hires-note', HTMLParagraphElement)
  readonly #upscaler = byId('hires_upscaler', HTMLSelectElement)
  #supported = false
  #offered = ''

  /** Chooses a size, now or once it is offered; empty for no second pass. */
  set value(name: string) {
    if (![...this.#select.options].some(({ value }) => value === name)) this.#select.append(missing(name))
    this.#select.value = name
  }

  /** Offers the sizes of the chosen model, and keeps the choice. */
  adopt({ features, sizes, limits }: Pick<Health, 'features' | 'sizes' | 'limits'>): void {
    this.#supported = features.includes('image_to_image') && sizes.length > 1
    for (const option of this.#upscaler.options)
      option.hidden = option.value !== '' && !features.includes('latents') && !option.selected
    if (limits !== null) this.#steps.max = String(limits.num_inference_steps)
    const offered = JSON.stringify([this.#supported, sizes])
    if (offered === this.#offered) return
    this.#offered = offered
    const { value } = this.#select
    const options = (this.#supported ? sizes : []).map(([width = 0, height = 0]) => {
      const name = sizeName(width, height)
      return el('option', { value: name }, `${name} (${ratioName(width, height)})`)
    })
    this.#select.replaceChildren(this.#select.options[0]!, ...options)
    this.value = value
  }

  /** @param steps of the first pass @param started whether the form has a picture to start from */
  refresh(steps: number, numbers: HiresChoices, started: boolean): void {
    const chosen = this.#select.value !== ''
    const { run, of } = hiresSteps(steps, numbers)
    this.#note.textContent = `Enlarges the image, then runs the last ${run} of ${of} steps at this size.`
    // What is chosen stays visible, so that the visitor can remove it.
    this.#field.hidden = started || (!this.#supported && !chosen)
    byId('hires-settings', HTMLDivElement).hidden = !chosen
  }
}

/** Keeps a size that is not offered (yet), for the check of the form. */
function missing(name: string): HTMLElement {
  return el('option', { value: name, dataset: { missing: '' } }, name)
}
