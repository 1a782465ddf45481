import type { Files, Health } from '../api/types.js'
import { byId } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import type { Size } from '../lib/picture-file.js'
import type { Placement } from '../model/placement.js'
import { sizeName } from '../model/settings.js'
import { defaultStrength, readStart, type Start, StartProblem, stepsRun } from '../model/start.js'
import { ExtendDialog } from './extend-dialog.js'
import { MaskDialog } from './mask-dialog.js'

interface Events {
  /** The picture or its mask has changed. */
  change: undefined
  /** The visitor gave a picture. `asked`: the settings in the form needed it. */
  taken: { start: Start; asked: boolean }
  /** The visitor painted a mask where none was, or removed it. */
  masked: boolean
  /** What is wrong with a file that the visitor gave. */
  problem: string
}

/** What the settings in the form need, and is not here. */
interface Wanted {
  image: boolean
  mask: boolean
}

/** The picture that was placed in a frame, and where. */
interface Placed {
  readonly start: Start
  readonly placement: Placement
}

const NOTHING: Wanted = { image: false, mask: false }

/** Pixels around the masked part, if only that is painted. */
const PADDING = 32

/** The picture to start from, and the mask of what changes in it. Hidden if the chosen model takes none. */
export class StartField extends Emitter<Events> {
  readonly #field = byId('start-field', HTMLFieldSetElement)
  readonly #settings = byId('start-settings', HTMLDivElement)
  readonly #shown = byId('start-shown', HTMLDivElement)
  readonly #thumb = byId('start-thumb', HTMLImageElement)
  readonly #maskThumb = byId('start-mask', HTMLImageElement)
  readonly #facts = byId('start-facts', HTMLParagraphElement)
  readonly #choose = byId('image', HTMLButtonElement)
  readonly #paint = byId('mask_image', HTMLButtonElement)
  readonly #file = byId('start-file', HTMLInputElement)
  readonly #note = byId('strength-note', HTMLParagraphElement)
  readonly #part = byId('masked-part', HTMLInputElement)
  readonly #padding = byId('padding_mask_crop', HTMLInputElement)
  readonly #extend = byId('start-extend', HTMLButtonElement)
  readonly #maskDialog = new MaskDialog()
  readonly #extendDialog = new ExtendDialog()
  readonly #frame: () => Size | undefined
  #start: Start | undefined
  #mask: Blob | undefined
  #placed: Placed | undefined
  #wanted = NOTHING
  #features: readonly string[] = []
  #limits: Health['pictures'] | undefined
  /** The newest file that is being read. */
  #reading: Blob | undefined

  /** @param frame gives the chosen size */
  constructor(frame: () => Size | undefined) {
    super()
    this.#frame = frame
    this.#choose.addEventListener('click', () => this.#file.click())
    this.#file.addEventListener('change', () => {
      const [file] = this.#file.files ?? []
      if (file !== undefined) void this.take(file)
      this.#file.value = ''
    })
    byId('start-remove', HTMLButtonElement).addEventListener('click', () => this.#remove())
    byId('start-without', HTMLButtonElement).addEventListener('click', () => this.#goWithout())
    this.#paint.addEventListener('click', () => void this.#paintMask())
    this.#extend.addEventListener('click', () => void this.#place())
    // Before the form shows what the field says.
    this.#part.addEventListener('input', () => {
      this.#padding.value = this.#part.checked ? String(PADDING) : ''
      this.#padding.dispatchEvent(new Event('input', { bubbles: true }))
    })
    this.#show()
  }

  get value(): Start | undefined {
    return this.#start
  }

  get mask(): Blob | undefined {
    return this.#mask
  }

  /** The files that requests send. */
  get files(): Files {
    return {
      ...(this.#start === undefined ? {} : { image: this.#start.file }),
      ...(this.#start === undefined || this.#mask === undefined ? {} : { mask_image: this.#mask })
    }
  }

  get supported(): boolean {
    return this.#features.includes('image_to_image')
  }

  /**
   * Puts in a picture and a mask, or none, without the visitor.
   *
   * @param wanted what is missing: the form has the settings of an image that was made from it
   */
  put(start: Start | undefined, mask?: Blob, wanted: Partial<Wanted> = {}): void {
    this.#reading = undefined
    this.#wanted = { ...NOTHING, ...wanted }
    this.#placed = undefined
    this.#start = start
    this.#mask = mask
    showFile(this.#thumb, start?.file)
    showFile(this.#maskThumb, mask)
    this.#show()
    this.emit('change', undefined)
  }

  /** Says whether the chosen model starts from pictures, and takes masks. */
  adopt({ features, pictures }: Pick<Health, 'features'> & { readonly pictures?: Health['pictures'] }): void {
    this.#features = features
    this.#limits = pictures
    this.#show()
  }

  /** Reads a file that the visitor gave. */
  async take(file: Blob): Promise<void> {
    this.#reading = file
    try {
      const start = await readStart(file, this.#limits)
      if (this.#reading !== file) return
      const { image: asked, mask } = this.#wanted
      this.put(start, undefined, { mask })
      this.emit('taken', { start, asked })
    } catch (error) {
      if (this.#reading !== file) return
      this.emit('problem', error instanceof StartProblem ? error.message : 'This file cannot be read.')
    }
  }

  /** Shows how many steps run, and what belongs to the mask. */
  refresh(steps: number, strength: number | undefined): void {
    const run = stepsRun(steps, strength ?? defaultStrength(this.files))
    this.#note.textContent = `Runs the last ${run} of ${steps} steps.`
    const part = this.#padding.value !== ''
    this.#part.checked = part
    byId('padding-field', HTMLDivElement).hidden = !part
    // The part around the mask is always fitted in one way.
    byId('resize-field', HTMLDivElement).hidden = this.#start === undefined || (part && this.#mask !== undefined)
  }

  async #paintMask(): Promise<void> {
    const start = this.#start
    if (start === undefined) return
    const mask = await this.#maskDialog.edit(this.#thumb.src, start, this.#mask)
    if (this.#start === start) this.#replace(start, mask, this.#placed)
  }

  /** Places the picture in a frame of the chosen size; what is empty is the mask. */
  async #place(): Promise<void> {
    const [before, frame] = [this.#start, this.#frame()]
    if (before === undefined || frame === undefined) return
    const { start, placement } = this.#placed ?? { start: before, placement: undefined }
    const placed = await this.#extendDialog.place(start.file, frame, placement)
    if (placed === undefined || this.#start !== before) return
    try {
      this.#replace(await readStart(placed.image, this.#limits), placed.mask, { start, placement: placed.placement })
    } catch (error) {
      if (error instanceof StartProblem) this.emit('problem', error.message)
      else throw error
    }
  }

  #replace(start: Start, mask: Blob | undefined, placed: Placed | undefined): void {
    const masked = this.#mask !== undefined
    this.put(start, mask)
    this.#placed = placed
    if ((mask !== undefined) !== masked) this.emit('masked', mask !== undefined)
  }

  #remove(): void {
    this.put(undefined)
    // The button just pressed is gone.
    this.#choose.focus()
  }

  #goWithout(): void {
    if (this.#start === undefined) return this.#remove()
    this.put(this.#start)
    this.#paint.focus()
  }

  #show(): void {
    const [start, mask, wanted] = [this.#start, this.#mask, this.#wanted]
    const masks = this.#features.includes('inpainting')
    // What is chosen stays visible, so that the visitor can remove it.
    this.#field.hidden = !this.supported && start === undefined && !wanted.image
    this.#shown.hidden = start === undefined
    this.#settings.hidden = start === undefined
    byId('start-remove', HTMLButtonElement).hidden = start === undefined
    byId('start-hint', HTMLSpanElement).hidden = start !== undefined
    byId('start-wanted', HTMLDivElement).hidden = !wanted.image && !wanted.mask
    byId('start-missing', HTMLSpanElement).textContent = wanted.image ? 'from a picture' : 'with a mask'
    byId('mask-settings', HTMLDivElement).hidden = mask === undefined
    this.#maskThumb.hidden = mask === undefined
    this.#facts.textContent = start === undefined ? '' : sizeName(start.width, start.height)
    this.#choose.textContent = start === undefined ? 'Choose a picture' : 'Replace'
    this.#paint.hidden = start === undefined || (!masks && mask === undefined && !wanted.mask)
    this.#extend.hidden = start === undefined || !masks
    this.#paint.textContent = mask === undefined ? 'Paint a mask' : 'Change mask'
    setProblem(this.#choose, [
      [wanted.image, 'Choose the picture, or go on without it.'],
      [start !== undefined && !this.supported, 'This model cannot start from a picture. Remove it.']
    ])
    setProblem(this.#paint, [
      [start !== undefined && wanted.mask, 'Paint the mask, or go on without it.'],
      [mask !== undefined && !masks, 'This model takes no mask. Clear it.']
    ])
  }
}

function showFile(image: HTMLImageElement, file: Blob | undefined): void {
  if (image.src !== '') URL.revokeObjectURL(image.src)
  if (file === undefined) image.removeAttribute('src')
  else image.src = URL.createObjectURL(file)
}

/** Marks a button with the first problem that there is, for the check of the form. */
function setProblem(button: HTMLButtonElement, problems: readonly (readonly [is: boolean, words: string])[]): void {
  const found = problems.find(([is]) => is)
  if (found === undefined) delete button.dataset['problem']
  else button.dataset['problem'] = found[1]
}
