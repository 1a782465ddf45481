import type { Files, Health } from '../api/types.js'
import { byId } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { defaultStrength, readStart, type Start, StartProblem, stepsRun } from '../model/start.js'
import { sizeName } from '../model/settings.js'

interface Events {
  /** The picture has changed. */
  change: undefined
  /** The visitor gave a picture. */
  taken: Start
  /** What is wrong with a file that the visitor gave. */
  problem: string
}

/** The picture to start from. Hidden if the chosen model takes none. */
export class StartField extends Emitter<Events> {
  readonly #field = byId('start-field', HTMLFieldSetElement)
  readonly #settings = byId('start-settings', HTMLDivElement)
  readonly #thumb = byId('start-thumb', HTMLImageElement)
  readonly #facts = byId('start-facts', HTMLParagraphElement)
  readonly #choose = byId('image', HTMLButtonElement)
  readonly #wanted = byId('start-wanted', HTMLDivElement)
  readonly #file = byId('start-file', HTMLInputElement)
  readonly #note = byId('strength-note', HTMLParagraphElement)
  #start: Start | undefined
  /** Whether the form has the settings of an image whose picture is not here. */
  #wants = false
  #supported = false
  #limits: Health['pictures'] | undefined
  /** The newest file that is being read. */
  #reading: Blob | undefined

  constructor() {
    super()
    this.#choose.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      if (file !== undefined) void this.take(file)
      this.#file.value = ''
    })
    byId('start-remove', HTMLButtonElement).addEventListener('click', () => this.#remove())
    byId('start-without', HTMLButtonElement).addEventListener('click', () => this.#remove())
    this.#show()
  }

  get value(): Start | undefined {
    return this.#start
  }

  /** Puts in a picture, or none, without the visitor. */
  set value(start: Start | undefined) {
    this.#reading = undefined
    this.#wants = false
    this.#put(start)
  }

  /** The files that requests send. */
  get files(): Files {
    return this.#start === undefined ? {} : { image: this.#start.file }
  }

  get supported(): boolean {
    return this.#supported
  }

  /** Asks for a picture that is not here: the form has the settings of an image that was made from it. */
  want(): void {
    this.#put(undefined)
    this.#wants = true
    this.#show()
  }

  /** Says whether the chosen model starts from pictures. */
  adopt({ features, pictures }: Pick<Health, 'features'> & { readonly pictures?: Health['pictures'] }): void {
    this.#supported = features.includes('image_to_image')
    this.#limits = pictures
    this.#show()
  }

  /** Reads a file that the visitor gave. */
  async take(file: Blob): Promise<void> {
    this.#reading = file
    try {
      const start = await readStart(file, this.#limits)
      if (this.#reading !== file) return
      this.value = start
      this.emit('taken', start)
    } catch (error) {
      if (this.#reading !== file) return
      this.emit('problem', error instanceof StartProblem ? error.message : 'This file cannot be read.')
    }
  }

  /** Shows how many steps run. */
  refresh(steps: number, strength: number | undefined): void {
    const run = stepsRun(steps, strength ?? defaultStrength(this.files))
    this.#note.textContent = `Runs the last ${run} of ${steps} steps.`
  }

  #remove(): void {
    this.value = undefined
    // The button just pressed is gone.
    this.#choose.focus()
  }

  #put(start: Start | undefined): void {
    if (this.#thumb.src !== '') URL.revokeObjectURL(this.#thumb.src)
    this.#start = start
    if (start === undefined) this.#thumb.removeAttribute('src')
    else this.#thumb.src = URL.createObjectURL(start.file)
    this.#show()
    this.emit('change', undefined)
  }

  #show(): void {
    const start = this.#start
    // A chosen one stays visible, so that the visitor can remove it.
    this.#field.hidden = !this.#supported && start === undefined && !this.#wants
    this.#thumb.hidden = start === undefined
    byId('start-remove', HTMLButtonElement).hidden = start === undefined
    this.#settings.hidden = start === undefined
    byId('resize-field', HTMLDivElement).hidden = start === undefined
    this.#wanted.hidden = !this.#wants
    this.#facts.textContent = start === undefined ? '' : sizeName(start.width, start.height)
    this.#choose.textContent = start === undefined ? 'Choose a picture' : 'Replace'
    byId('start-hint', HTMLSpanElement).hidden = start !== undefined
    const problem = this.#wants
      ? 'Choose the picture, or start without one.'
      : start !== undefined && !this.#supported
        ? 'This model cannot start from a picture. Remove it.'
        : ''
    if (problem === '') delete this.#choose.dataset['problem']
    else this.#choose.dataset['problem'] = problem
  }
}
