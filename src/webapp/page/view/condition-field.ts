import type { Health } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import type { Condition, ConditionList } from '../model/conditions.js'
import { sizeName } from '../model/settings.js'
import { readStart, type Start, StartProblem } from '../model/start.js'

interface Events {
  /** The picture or what is done with it has changed. */
  change: undefined
  /** What is wrong with a file that the visitor gave. */
  problem: string
}

const MOST = 10

/**
 * A picture that the image follows (`controls`), or that counts as a prompt (`ip_adapters`): the file, by which net, and
 * how strongly. Hidden if the chosen model has none.
 */
export class ConditionField extends Emitter<Events> {
  readonly #list: ConditionList
  readonly #field: HTMLFieldSetElement
  readonly #choose: HTMLButtonElement
  readonly #remove: HTMLButtonElement
  readonly #without: HTMLButtonElement
  readonly #file: HTMLInputElement
  readonly #thumb: HTMLImageElement
  readonly #name: HTMLSelectElement
  readonly #scale: HTMLInputElement
  /** Only controls have one. */
  readonly #preprocessor: HTMLSelectElement | undefined
  #names: readonly string[] = []
  #supported = false
  #picture: Start | undefined
  /** The chosen values; those that the form has no field for stay as a recipe had them. */
  #entry: Condition | undefined
  #limits: Health['pictures'] | undefined
  /** The newest file that is being read. */
  #reading: Blob | undefined

  constructor(list: ConditionList) {
    super()
    this.#list = list
    this.#field = byId(`${list}-field`, HTMLFieldSetElement)
    this.#choose = byId(list, HTMLButtonElement)
    this.#remove = byId(`${list}-remove`, HTMLButtonElement)
    this.#without = byId(`${list}-without`, HTMLButtonElement)
    this.#file = byId(`${list}-file`, HTMLInputElement)
    this.#thumb = byId(`${list}-thumb`, HTMLImageElement)
    this.#name = byId(`${list}-name`, HTMLSelectElement)
    this.#scale = byId(`${list}-scale`, HTMLInputElement)
    this.#preprocessor = list === 'controls' ? byId(`${list}-preprocessor`, HTMLSelectElement) : undefined
    this.#choose.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      if (file !== undefined) void this.#take(file)
      this.#file.value = ''
    })
    for (const button of [this.#remove, this.#without])
      button.addEventListener('click', () => {
        this.put(undefined, undefined)
        // The button just pressed is gone.
        this.#choose.focus()
      })
    for (const field of [this.#name, this.#scale, ...(this.#preprocessor === undefined ? [] : [this.#preprocessor])])
      field.addEventListener('input', () => this.#read())
    this.#show()
  }

  /** The entry of the request; undefined without a picture. */
  get value(): Condition | undefined {
    return this.#picture === undefined ? undefined : this.#entry
  }

  get picture(): Start | undefined {
    return this.#picture
  }

  /** Says what the chosen model has, and what its pictures may be. */
  adopt(supported: boolean, limits: Health['pictures'] | undefined): void {
    this.#supported = supported
    this.#limits = limits
    this.#show()
  }

  /** Offers these nets. Keeps a chosen one that is not offered. */
  offer(names: readonly string[]): void {
    this.#names = names
    this.#show()
  }

  /** Puts an entry and its picture in, or none. Without its picture the form asks for it. */
  put(entry: Condition | undefined, picture: Start | undefined): void {
    this.#reading = undefined
    this.#entry = entry
    this.#picture = picture
    if (this.#thumb.src !== '') URL.revokeObjectURL(this.#thumb.src)
    if (picture === undefined) this.#thumb.removeAttribute('src')
    else this.#thumb.src = URL.createObjectURL(picture.file)
    this.#show()
    this.emit('change', undefined)
  }

  async #take(file: Blob): Promise<void> {
    this.#reading = file
    try {
      const picture = await readStart(file, this.#limits)
      if (this.#reading === file) this.put(this.#entry ?? { name: this.#names[0] ?? '' }, picture)
    } catch (error) {
      if (this.#reading !== file) return
      this.emit('problem', error instanceof StartProblem ? error.message : 'This file cannot be read.')
    }
  }

  /** Takes over what the visitor chose. */
  #read(): void {
    if (this.#entry === undefined) return
    const scale = this.#scale.value === '' ? undefined : Math.min(MOST, Math.max(0, Number(this.#scale.value)))
    const {
      preprocessor,
      low_threshold,
      high_threshold,
      controlnet_conditioning_scale: _c,
      scale: _s,
      ...rest
    } = this.#entry
    const drawn = this.#preprocessor?.value as Condition['preprocessor']
    this.#entry = {
      ...rest,
      name: this.#name.value,
      ...(drawn === undefined || drawn === 'none' ? {} : { preprocessor: drawn }),
      // Thresholds belong to their preprocessor.
      ...(drawn === preprocessor && low_threshold !== undefined ? { low_threshold } : {}),
      ...(drawn === preprocessor && high_threshold !== undefined ? { high_threshold } : {}),
      ...(scale === undefined ? {} : this.#list === 'controls' ? { controlnet_conditioning_scale: scale } : { scale })
    }
    this.emit('change', undefined)
  }

  #show(): void {
    const [entry, picture] = [this.#entry, this.#picture]
    const wanted = entry !== undefined && picture === undefined
    // What is chosen stays visible, so that the visitor can remove it.
    this.#field.hidden = !this.#supported && entry === undefined
    byId(`${this.#list}-shown`, HTMLDivElement).hidden = picture === undefined
    byId(`${this.#list}-settings`, HTMLDivElement).hidden = picture === undefined
    byId(`${this.#list}-wanted`, HTMLDivElement).hidden = !wanted
    byId(`${this.#list}-facts`, HTMLParagraphElement).textContent =
      picture === undefined ? '' : sizeName(picture.width, picture.height)
    this.#remove.hidden = picture === undefined
    this.#choose.textContent = picture === undefined ? 'Choose a picture' : 'Replace'
    const missing = entry !== undefined && !this.#names.includes(entry.name) ? [entry.name] : []
    this.#name.replaceChildren(...[...this.#names, ...missing].map((name) => el('option', { value: name }, name)))
    if (entry !== undefined) this.#name.value = entry.name
    if (this.#preprocessor !== undefined) this.#preprocessor.value = entry?.preprocessor ?? 'none'
    const scale = this.#list === 'controls' ? entry?.controlnet_conditioning_scale : entry?.scale
    // Do not overwrite a number that is being written, such as "0.".
    if (document.activeElement !== this.#scale) this.#scale.value = scale === undefined ? '' : String(scale)
    if (wanted) this.#choose.dataset['problem'] = 'Choose the picture, or go on without it.'
    else if (picture !== undefined && !this.#supported)
      this.#choose.dataset['problem'] = 'This model takes no such picture. Remove it.'
    else delete this.#choose.dataset['problem']
  }
}
