import { byId } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { uuid } from '../lib/random.js'
import type { Condition, ConditionList, Drawing } from '../model/conditions.js'
import { sizeName } from '../model/settings.js'
import type { Start } from '../model/start.js'

/** A visitor who wants to see what a preprocessor draws. */
export interface PreviewAsk {
  readonly drawing: Drawing
  readonly file: Blob
  /** Shows the answer; does nothing if something else was chosen meanwhile. */
  readonly show: (drawn: Blob) => void
  readonly fail: (words: string) => void
}

interface Events {
  /** A value has changed. */
  change: undefined
  /** The visitor wants to give a picture, or another one. */
  choose: undefined
  remove: undefined
  preview: PreviewAsk
}

/** The numbers of an entry: their place in the form, and the largest one. The least is 0. */
const NUMBERS = {
  low_threshold: ['low', 2040],
  high_threshold: ['high', 2040],
  controlnet_conditioning_scale: ['scale', 10],
  control_guidance_start: ['start', 1],
  control_guidance_end: ['end', 1],
  scale: ['scale', 10]
} as const
type NumberName = keyof typeof NUMBERS
type Part = (typeof NUMBERS)[NumberName][0]

const OF_LIST: Readonly<Record<ConditionList, readonly NumberName[]>> = {
  controls: [
    'low_threshold',
    'high_threshold',
    'controlnet_conditioning_scale',
    'control_guidance_start',
    'control_guidance_end'
  ],
  ip_adapters: ['scale']
}
const THRESHOLDS: ReadonlySet<NumberName> = new Set(['low_threshold', 'high_threshold'] as const)

/** How an entry's parts are called. */
export interface EntryWords {
  /** Such as "picture to follow". */
  readonly what: string
  readonly by: string
  readonly scale: string
}

/** What an entry shows besides its own values. */
export interface EntryView {
  /** Its number, if there are several. */
  readonly number: number | undefined
  readonly names: readonly string[]
}

/** An entry of `controls` or `ip_adapters` in the form: its picture, by which net it is followed, and its values. */
export class ConditionEntry extends Emitter<Events> {
  readonly element: HTMLElement
  readonly choose: HTMLButtonElement
  readonly #list: ConditionList
  readonly #words: EntryWords
  #values: Condition
  #picture: Start | undefined
  /** The URL of what the preprocessor drew. */
  #drawn: string | undefined
  /** Counts the states that a preview may be of. */
  #state = 0

  constructor(list: ConditionList, words: EntryWords, values: Condition, picture: Start | undefined) {
    super()
    this.#list = list
    this.#words = words
    this.#values = values
    this.#picture = picture
    const fragment = byId('condition-entry', HTMLTemplateElement).content.cloneNode(true) as DocumentFragment
    this.element = fragment.querySelector<HTMLElement>('.condition')!
    if (list !== 'controls') for (const field of this.element.querySelectorAll('[data-controls]')) field.remove()
    const id = `condition-${uuid()}`
    for (const label of this.element.querySelectorAll('label')) {
      const part = label.dataset['for']!
      label.htmlFor = `${id}-${part}`
      this.#part(part).id = label.htmlFor
    }
    this.#label('name', words.by)
    this.#label('scale', words.scale)
    this.choose = this.#button('choose')
    this.choose.addEventListener('click', () => this.emit('choose', undefined))
    for (const name of ['remove', 'without'])
      this.#button(name).addEventListener('click', () => this.emit('remove', undefined))
    this.#part('settings').addEventListener('input', () => this.#read())
    if (list === 'controls') this.#button('preview').addEventListener('click', () => this.#ask())
    this.#showPicture()
  }

  /** What the request says of it. */
  get values(): Condition {
    return this.#values
  }

  get picture(): Start | undefined {
    return this.#picture
  }

  set picture(picture: Start | undefined) {
    this.#picture = picture
    this.forget()
    this.#showPicture()
  }

  /** Frees its pictures. */
  close(): void {
    this.forget()
    URL.revokeObjectURL(this.#image('thumb').src)
  }

  /** Hides what was drawn, which is of other values than those that are chosen now. */
  forget(): void {
    this.#state += 1
    if (this.#drawn !== undefined) URL.revokeObjectURL(this.#drawn)
    this.#drawn = undefined
    if (this.#list !== 'controls') return
    this.#image('drawn').removeAttribute('src')
    this.#part('drawn-frame').hidden = true
    this.#part('drawn-problem').textContent = ''
  }

  show({ number, names }: EntryView): void {
    const { what } = this.#words
    const values = this.#values
    this.element.ariaLabel = number === undefined ? capitalized(what) : `${capitalized(what)} ${number}`
    this.#button('remove').ariaLabel = number === undefined ? `Remove the ${what}` : `Remove ${what} ${number}`
    const wanted = this.#picture === undefined
    this.#part('wanted').hidden = !wanted
    this.#part('settings').hidden = wanted
    this.#part('shown').hidden = wanted
    this.#button('remove').hidden = wanted
    this.#part('facts').textContent = this.#picture ? sizeName(this.#picture.width, this.#picture.height) : ''
    this.choose.textContent = wanted ? 'Choose the picture' : 'Replace'
    const select = this.#part('name') as HTMLSelectElement
    const offered = names.includes(values.name) ? names : [...names, values.name]
    select.replaceChildren(...offered.map((name) => new Option(name, name)))
    select.value = values.name
    for (const name of OF_LIST[this.#list]) {
      const field = this.#number(NUMBERS[name][0])
      // Do not overwrite a number that is being written, such as "0.".
      if (document.activeElement !== field) field.value = String(values[name] ?? '')
    }
    if (this.#list !== 'controls') return
    const drawn = values.preprocessor ?? 'none'
    ;(this.#part('preprocessor') as HTMLSelectElement).value = drawn
    this.#button('preview').hidden = wanted || drawn === 'none'
    for (const part of ['low', 'high']) this.#part(part).parentElement!.hidden = drawn !== 'canny'
  }

  /** Takes over what the visitor chose. */
  #read(): void {
    const before = JSON.stringify(this.#drawing)
    const own: readonly NumberName[] = OF_LIST[this.#list]
    const rest = Object.fromEntries(
      Object.entries(this.#values).filter(([name]) => name !== 'preprocessor' && !own.includes(name as NumberName))
    ) as Condition
    const drawn =
      this.#list === 'controls'
        ? (this.#part('preprocessor') as HTMLSelectElement).value
        : (undefined as string | undefined)
    const numbers = own.flatMap((name) => {
      const [part, most] = NUMBERS[name]
      const { value } = this.#number(part)
      // Thresholds belong to their preprocessor.
      if (value === '' || (THRESHOLDS.has(name) && drawn !== 'canny')) return []
      return [[name, Math.min(most, Math.max(0, Number(value)))]]
    })
    this.#values = {
      ...rest,
      name: (this.#part('name') as HTMLSelectElement).value,
      ...(drawn === undefined || drawn === 'none' ? {} : { preprocessor: drawn as Condition['preprocessor'] }),
      ...(Object.fromEntries(numbers) as Partial<Condition>)
    } as Condition
    if (JSON.stringify(this.#drawing) !== before) this.forget()
    this.emit('change', undefined)
  }

  get #drawing(): Drawing {
    const { preprocessor, low_threshold, high_threshold, resize_mode } = this.#values
    const entries = Object.entries({ preprocessor, low_threshold, high_threshold, resize_mode })
    return Object.fromEntries(entries.filter(([, value]) => value !== undefined)) as Drawing
  }

  #ask(): void {
    if (this.#picture === undefined) return
    this.forget()
    const state = this.#state
    const problem = this.#part('drawn-problem')
    this.emit('preview', {
      drawing: this.#drawing,
      file: this.#picture.file,
      show: (drawn) => {
        if (state !== this.#state) return
        this.#drawn = URL.createObjectURL(drawn)
        this.#image('drawn').src = this.#drawn
        this.#part('drawn-frame').hidden = false
      },
      fail: (words) => {
        if (state === this.#state) problem.textContent = words
      }
    })
  }

  #showPicture(): void {
    const thumb = this.#image('thumb')
    thumb.alt = `The ${this.#words.what}`
    if (thumb.src !== '') URL.revokeObjectURL(thumb.src)
    if (this.#picture === undefined) thumb.removeAttribute('src')
    else thumb.src = URL.createObjectURL(this.#picture.file)
  }

  #label(part: string, text: string): void {
    this.element.querySelector(`label[data-for=${part}]`)!.textContent = text
  }

  #part(name: string): HTMLElement {
    return this.element.querySelector<HTMLElement>(`[data-part=${name}]`)!
  }

  #button(name: string): HTMLButtonElement {
    return this.#part(name) as HTMLButtonElement
  }

  #image(name: string): HTMLImageElement {
    return this.#part(name) as HTMLImageElement
  }

  #number(name: Part): HTMLInputElement {
    return this.#part(name) as HTMLInputElement
  }
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
