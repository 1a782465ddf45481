import type { Health } from '../api/types.js'
import { byId, placeChildren } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import type { Condition, ConditionList } from '../model/conditions.js'
import { readStart, type Start, StartProblem } from '../model/start.js'
import { ConditionEntry, type EntryWords, type PreviewAsk } from './condition-entry.js'

interface Events {
  /** A picture or what is done with it has changed. */
  change: undefined
  /** What is wrong with a file that the visitor gave. */
  problem: string
  /** The visitor wants to see what a preprocessor draws. */
  preview: PreviewAsk
}

/** An entry with its picture, which is undefined if it is not here. */
export interface Followed {
  readonly values: Condition
  readonly picture: Start | undefined
}

/** What the chosen model takes. */
export interface Taken {
  /** The most entries; 0 if the model takes none. */
  readonly most: number
  readonly limits: Health['pictures'] | undefined
}

const WORDS: Readonly<Record<ConditionList, EntryWords>> = {
  controls: { what: 'picture to follow', by: 'Followed by', scale: 'How strongly' },
  ip_adapters: { what: 'picture as a prompt', by: 'Read by', scale: 'How much it counts' }
}

/**
 * The pictures that the image follows (`controls`), or that count as prompts (`ip_adapters`). Hidden if the chosen model
 * takes none.
 */
export class ConditionField extends Emitter<Events> {
  readonly #list: ConditionList
  readonly #field: HTMLFieldSetElement
  readonly #add: HTMLButtonElement
  readonly #file: HTMLInputElement
  readonly #place: HTMLElement
  #entries: readonly ConditionEntry[] = []
  #names: readonly string[] = []
  #taken: Taken = { most: 0, limits: undefined }
  /** The entry whose picture the visitor chooses; undefined for a new one. */
  #choosing: ConditionEntry | undefined
  /** The newest file that is being read. */
  #reading: Blob | undefined

  constructor(list: ConditionList) {
    super()
    this.#list = list
    this.#field = byId(`${list}-field`, HTMLFieldSetElement)
    this.#field.append(byId('condition-field', HTMLTemplateElement).content.cloneNode(true))
    this.#add = this.#field.querySelector<HTMLButtonElement>('.start-choose')!
    this.#place = this.#field.querySelector<HTMLElement>('.conditions')!
    this.#file = this.#field.querySelector<HTMLInputElement>('input[type=file]')!
    this.#file.id = `${list}-file`
    this.#file.ariaLabel = WORDS[list].what
    this.#field.querySelector('.field-error')!.id = `${list}-error`
    this.#add.addEventListener('click', () => this.#choose(undefined))
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      if (file !== undefined) void this.#take(file, this.#choosing)
      this.#file.value = ''
      this.#choosing = undefined
    })
    this.#show()
  }

  /** What the request has: entries without their pictures are left out. */
  get value(): Condition[] {
    return this.#whole.map(({ values }) => values)
  }

  /** The files of `value`. */
  get files(): Blob[] {
    return this.#whole.map(({ picture }) => picture!.file)
  }

  get #whole(): readonly ConditionEntry[] {
    return this.#entries.filter(({ picture }) => picture !== undefined)
  }

  /** Says what the chosen model takes. */
  adopt(taken: Taken): void {
    this.#taken = taken
    this.#show()
  }

  /** Offers these nets. Keeps chosen ones that are not offered. */
  offer(names: readonly string[]): void {
    this.#names = names
    this.#show()
  }

  /** Hides what was drawn for another size. */
  forgetDrawn(): void {
    for (const entry of this.#entries) entry.forget()
  }

  /** Puts entries in, and takes out those that were there. The form asks for pictures that are missing. */
  put(entries: readonly Followed[]): void {
    this.#reading = undefined
    for (const entry of this.#entries) entry.close()
    this.#entries = entries.map(({ values, picture }) => this.#newEntry(values, picture))
    this.#changed()
  }

  #newEntry(values: Condition, picture: Start | undefined): ConditionEntry {
    const entry = new ConditionEntry(this.#list, WORDS[this.#list], values, picture)
    return entry
      .on('change', () => this.#changed())
      .on('choose', () => this.#choose(entry))
      .on('remove', () => this.#remove(entry))
      .on('preview', (ask) => this.emit('preview', ask))
  }

  #choose(entry: ConditionEntry | undefined): void {
    this.#choosing = entry
    this.#file.click()
  }

  #remove(entry: ConditionEntry): void {
    entry.close()
    this.#entries = this.#entries.filter((each) => each !== entry)
    this.#changed()
    // The button just pressed is gone.
    byId(this.#list, HTMLButtonElement).focus()
  }

  async #take(file: Blob, entry: ConditionEntry | undefined): Promise<void> {
    this.#reading = file
    try {
      const picture = await readStart(file, this.#taken.limits)
      if (this.#reading !== file) return
      const place = entry ?? this.#entries.find((each) => each.picture === undefined)
      if (place !== undefined) place.picture = picture
      else this.#entries = [...this.#entries, this.#newEntry({ name: this.#names[0] ?? '' }, picture)]
      this.#changed()
    } catch (error) {
      if (this.#reading !== file) return
      this.emit('problem', error instanceof StartProblem ? error.message : 'This file cannot be read.')
    }
  }

  #changed(): void {
    this.#show()
    this.emit('change', undefined)
  }

  #show(): void {
    const { most } = this.#taken
    const count = this.#entries.length
    // What is chosen stays visible, so that the visitor can remove it.
    this.#field.hidden = most === 0 && count === 0
    for (const [index, entry] of this.#entries.entries())
      entry.show({ number: count > 1 ? index + 1 : undefined, names: this.#names })
    placeChildren(
      this.#place,
      this.#entries.map(({ element }) => element)
    )
    this.#add.hidden = count > 0 && count >= most
    this.#add.textContent = count === 0 ? 'Choose a picture' : 'Add a picture'
    this.#mark(this.#problem)
  }

  /** The problem of the field, and the button that solves it. */
  get #problem(): { readonly words: string; readonly button: HTMLButtonElement } | undefined {
    const wanted = this.#entries.find(({ picture }) => picture === undefined)
    if (wanted !== undefined) return { words: 'Choose the picture, or go on without it.', button: wanted.choose }
    const { most } = this.#taken
    const beyond = this.#entries[most]
    if (beyond === undefined) return undefined
    const words =
      most === 0
        ? 'This model takes no such picture. Remove it.'
        : `This model takes at most ${most} of them. Remove one.`
    return { words, button: beyond.choose }
  }

  /** The field's name, and with it its errors, belong to the button that solves its problem. */
  #mark(problem: { readonly words: string; readonly button: HTMLButtonElement } | undefined): void {
    const buttons = [this.#add, ...this.#entries.map(({ choose }) => choose)]
    const visible = this.#add.hidden ? buttons[1]! : this.#add
    const marked = problem?.button ?? visible
    for (const button of buttons) {
      delete button.dataset['problem']
      button.removeAttribute('id')
      button.removeAttribute('name')
      button.removeAttribute('aria-describedby')
      if (button !== marked) button.removeAttribute('aria-invalid')
    }
    marked.id = marked.name = this.#list
    marked.setAttribute('aria-describedby', `${this.#list}-error`)
    if (problem !== undefined) marked.dataset['problem'] = problem.words
  }
}
