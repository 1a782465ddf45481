import { ARROWS } from '../lib/arrows.js'
import { byId } from '../lib/dom.js'
import { extendedFiles } from '../lib/extend-file.js'
import type { Size } from '../lib/picture-file.js'
import { firstPlacement, LEAST, moved, type Placement, rectOf, scaled, stretched } from '../model/placement.js'

/** How far an arrow key moves the picture, as a share of the frame; with Shift it is one pixel. */
const STEP = 1 / 32
/** How far + and −, and a notch of the wheel, scale it. */
const SCALE_STEP = 0.05

const SCALES: Readonly<Record<string, number>> = { '+': SCALE_STEP, '=': SCALE_STEP, '-': -SCALE_STEP }

export interface Extended {
  readonly image: Blob
  readonly mask: Blob | undefined
  readonly placement: Placement
}

/** The dialog in which the visitor places the picture in a frame, whose empty part is made anew. */
export class ExtendDialog {
  readonly #dialog = byId('extend-dialog', HTMLDialogElement)
  readonly #board = byId('extend-board', HTMLDivElement)
  readonly #picture = byId('extend-picture', HTMLImageElement)
  readonly #corner = byId('extend-corner', HTMLDivElement)
  readonly #scale = byId('extend-scale', HTMLInputElement)
  #placement: Placement = { scale: 1, across: 0.5, down: 0.5 }
  #size: Size = { width: 1, height: 1 }
  #frame: Size = { width: 1, height: 1 }
  /** Where a dragging began, and the placement then. */
  #held: { placement: Placement; x: number; y: number } | undefined
  #finish: (extended: Extended | undefined) => void = () => undefined

  constructor() {
    this.#scale.min = String(LEAST)
    this.#scale.addEventListener('input', () => this.#put(scaled(this.#placement, Number(this.#scale.value))))
    byId('extend-centre', HTMLButtonElement).addEventListener('click', () =>
      this.#put({ ...this.#placement, across: 0.5, down: 0.5 })
    )
    this.#board.addEventListener('keydown', (event) => this.#key(event))
    this.#board.addEventListener('wheel', (event) => {
      event.preventDefault()
      this.#put(scaled(this.#placement, this.#placement.scale - Math.sign(event.deltaY) * SCALE_STEP))
    })
    this.#board.addEventListener('pointerdown', (event) => this.#grasp(event))
    this.#board.addEventListener('pointermove', (event) => this.#drag(event))
    byId('extend-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#done()
    })
    byId('extend-cancel', HTMLButtonElement).addEventListener('click', () => this.#dialog.close())
    this.#dialog.addEventListener('close', () => {
      URL.revokeObjectURL(this.#picture.src)
      this.#finish(undefined)
    })
  }

  /**
   * Opens the dialog.
   *
   * @param frame the size of the result
   * @param placement where the picture was before
   * @returns undefined if the visitor cancels
   */
  async place(file: Blob, frame: Size, placement: Placement | undefined): Promise<Extended | undefined> {
    this.#picture.src = URL.createObjectURL(file)
    await this.#picture.decode()
    this.#size = { width: this.#picture.naturalWidth, height: this.#picture.naturalHeight }
    this.#frame = frame
    this.#board.style.setProperty('--aspect', String(frame.width / frame.height))
    this.#put(placement ?? firstPlacement(this.#size, frame))
    this.#dialog.showModal()
    this.#board.focus()
    return new Promise((resolve) => (this.#finish = resolve))
  }

  async #done(): Promise<void> {
    const placement = this.#placement
    const files = await extendedFiles(this.#picture, rectOf(placement, this.#size, this.#frame), this.#frame)
    this.#finish({ ...files, placement })
    this.#dialog.close()
  }

  #put(placement: Placement): void {
    this.#placement = placement
    const { x, y, width, height } = rectOf(placement, this.#size, this.#frame)
    const frame = this.#frame
    for (const [name, share] of [
      ['--x', x / frame.width],
      ['--y', y / frame.height],
      ['--width', width / frame.width],
      ['--height', height / frame.height]
    ] as const)
      this.#board.style.setProperty(name, `${100 * share}%`)
    this.#scale.value = String(placement.scale)
    this.#scale.ariaValueText = `${Math.round(100 * placement.scale)} %`
    const says = `The picture has ${width}×${height} of ${frame.width}×${frame.height}, ${x} from the left, ${y} from the top.`
    byId('extend-says', HTMLParagraphElement).textContent = says
  }

  #key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const [arrow, scale] = [ARROWS[event.key], SCALES[event.key]]
    if (arrow === undefined && scale === undefined) return
    event.preventDefault()
    if (scale !== undefined) return this.#put(scaled(this.#placement, this.#placement.scale + scale))
    const step = event.shiftKey ? 1 : Math.max(this.#frame.width, this.#frame.height) * STEP
    this.#put(moved(this.#placement, this.#size, this.#frame, [arrow![0] * step, arrow![1] * step]))
  }

  #grasp(event: PointerEvent): void {
    if (!event.isPrimary || event.button !== 0) return
    event.preventDefault()
    this.#board.focus()
    const grasped = event.target === this.#corner ? this.#corner : this.#board
    grasped.setPointerCapture(event.pointerId)
    this.#held = { placement: this.#placement, x: event.clientX, y: event.clientY }
  }

  #drag(event: PointerEvent): void {
    const held = this.#held
    const corner = this.#corner.hasPointerCapture(event.pointerId)
    if (held === undefined || (!corner && !this.#board.hasPointerCapture(event.pointerId))) return
    const { left, top, width } = this.#board.getBoundingClientRect()
    const pixels = this.#frame.width / width
    this.#put(
      corner
        ? stretched(this.#placement, this.#size, this.#frame, [
            (event.clientX - left) * pixels,
            (event.clientY - top) * pixels
          ])
        : moved(held.placement, this.#size, this.#frame, [
            (event.clientX - held.x) * pixels,
            (event.clientY - held.y) * pixels
          ])
    )
  }
}
