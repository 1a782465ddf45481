import { ARROWS } from '../lib/arrows.js'
import { byId } from '../lib/dom.js'
import { maskFile, paintMask } from '../lib/mask-file.js'
import type { Size } from '../lib/picture-file.js'
import { drawStroke, Mask, type Point } from '../model/mask.js'

/** Diameters of the brush, as shares of the picture's shorter side. */
const BRUSH = { least: 0.01, first: 0.12, most: 0.5 }

/** The dialog in which the visitor paints what changes, by mouse, pen, touch or keys. */
export class MaskDialog {
  readonly #dialog = byId('mask-dialog', HTMLDialogElement)
  readonly #board = byId('mask-board', HTMLDivElement)
  readonly #picture = byId('mask-picture', HTMLImageElement)
  readonly #canvas = byId('mask-canvas', HTMLCanvasElement)
  readonly #ring = byId('mask-brush', HTMLDivElement)
  readonly #size = byId('brush-size', HTMLInputElement)
  readonly #erase = byId('mask-erase', HTMLButtonElement)
  readonly #undo = byId('mask-undo', HTMLButtonElement)
  readonly #clear = byId('mask-clear', HTMLButtonElement)
  readonly #context = this.#canvas.getContext('2d', { willReadFrequently: true })!
  #mask = new Mask()
  /** What was painted when the dialog was opened. */
  #before: ImageData | undefined
  /** Where the keys paint. */
  #at: Point = [0, 0]
  #drawing = false
  #finish: (file: Blob | undefined) => void = () => undefined

  constructor() {
    this.#canvas.addEventListener('pointerdown', (event) => this.#down(event))
    this.#canvas.addEventListener('pointermove', (event) => this.#move(event))
    for (const name of ['pointerup', 'pointercancel'] as const)
      this.#canvas.addEventListener(name, ({ isPrimary }) => {
        if (isPrimary) this.#drawing = false
      })
    this.#canvas.addEventListener('keydown', (event) => this.#key(event))
    this.#canvas.addEventListener('focus', () => this.#showRing(this.#at))
    for (const name of ['pointerleave', 'blur'] as const)
      this.#canvas.addEventListener(name, () => (this.#ring.hidden = true))
    this.#erase.addEventListener('click', () => (this.#erase.ariaPressed = String(!this.#erasing)))
    this.#undo.addEventListener('click', () => this.#change(() => this.#mask.undo()))
    this.#clear.addEventListener('click', () => this.#change(() => this.#mask.add({ kind: 'clear' })))
    this.#dialog.addEventListener('keydown', (event) => {
      if (event.key !== 'z' || !(event.ctrlKey || event.metaKey)) return
      event.preventDefault()
      this.#change(() => this.#mask.undo())
    })
    byId('mask-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault()
      void this.#close()
    })
    // Escape keeps what was painted: nothing is lost by a wrong key.
    this.#dialog.addEventListener('cancel', (event) => {
      event.preventDefault()
      void this.#close()
    })
  }

  /**
   * Opens the dialog.
   *
   * @param url of the picture
   * @param file the mask so far
   * @returns the mask's file, of the picture's size, when the visitor has finished; undefined without one
   */
  async edit(url: string, { width, height }: Size, file: Blob | undefined): Promise<Blob | undefined> {
    this.#mask = new Mask()
    this.#before = undefined
    this.#picture.src = url
    this.#board.style.setProperty('--aspect', String(width / height))
    Object.assign(this.#canvas, { width, height })
    const shorter = Math.min(width, height)
    this.#size.min = String(Math.max(1, Math.round(shorter * BRUSH.least)))
    this.#size.max = String(Math.max(2, Math.round(shorter * BRUSH.most)))
    this.#size.value = String(Math.max(1, Math.round(shorter * BRUSH.first)))
    this.#erase.ariaPressed = 'false'
    this.#at = [width / 2, height / 2]
    if (file !== undefined) {
      await paintMask(file, this.#canvas, this.#colour)
      this.#before = this.#context.getImageData(0, 0, width, height)
    }
    this.#buttons()
    this.#dialog.showModal()
    return new Promise((resolve) => (this.#finish = resolve))
  }

  async #close(): Promise<void> {
    const file = await maskFile(this.#canvas)
    this.#dialog.close()
    this.#finish(file)
  }

  get #colour(): string {
    return getComputedStyle(this.#canvas).color
  }

  get #erasing(): boolean {
    return this.#erase.ariaPressed === 'true'
  }

  get #width(): number {
    return Number(this.#size.value)
  }

  #down(event: PointerEvent): void {
    if (!event.isPrimary || event.button !== 0) return
    event.preventDefault()
    this.#canvas.setPointerCapture(event.pointerId)
    this.#drawing = true
    this.#begin(this.#pointOf(event))
  }

  #move(event: PointerEvent): void {
    if (!event.isPrimary) return
    this.#showRing(this.#pointOf(event))
    if (!this.#drawing) return
    // The browser joins movements between two frames into one event.
    for (const each of event.getCoalescedEvents()) this.#extend(this.#pointOf(each))
    this.#extend(this.#pointOf(event))
  }

  #begin(at: Point): void {
    this.#mask.add({ kind: this.#erasing ? 'erase' : 'paint', width: this.#width, points: [at] })
    drawStroke(this.#context, this.#mask.strokes.at(-1)!, this.#colour)
    this.#buttons()
  }

  #extend(to: Point): void {
    this.#mask.extend(to)
    const stroke = this.#mask.strokes.at(-1)!
    if (stroke.kind !== 'clear') drawStroke(this.#context, stroke, this.#colour, stroke.points.length - 2)
  }

  /** Arrow keys move the brush, with Shift they paint on the way; Space paints a dot. */
  #key(event: KeyboardEvent): void {
    const arrow = ARROWS[event.key]
    if (event.ctrlKey || event.metaKey || event.altKey || (arrow === undefined && event.key !== ' ')) return
    event.preventDefault()
    if (arrow === undefined) return this.#begin(this.#at)
    const { width, height } = this.#canvas
    const step = Math.max(1, this.#width / 4)
    const to: Point = [
      Math.min(Math.max(this.#at[0] + arrow[0] * step, 0), width),
      Math.min(Math.max(this.#at[1] + arrow[1] * step, 0), height)
    ]
    if (event.shiftKey) {
      this.#begin(this.#at)
      this.#extend(to)
    }
    this.#at = to
    this.#showRing(to)
  }

  #pointOf({ clientX, clientY }: PointerEvent): Point {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect()
    return [((clientX - left) / width) * this.#canvas.width, ((clientY - top) / height) * this.#canvas.height]
  }

  #showRing([x, y]: Point): void {
    const { width, height } = this.#canvas
    this.#ring.hidden = false
    this.#ring.style.left = `${(100 * x) / width}%`
    this.#ring.style.top = `${(100 * y) / height}%`
    this.#ring.style.width = `${(100 * this.#width) / width}%`
  }

  /** Changes the strokes and draws all of them again. */
  #change(change: () => void): void {
    this.#drawing = false
    change()
    this.#context.clearRect(0, 0, this.#canvas.width, this.#canvas.height)
    if (this.#before !== undefined && !this.#mask.cleared) this.#context.putImageData(this.#before, 0, 0)
    for (const stroke of this.#mask.seen) drawStroke(this.#context, stroke, this.#colour)
    this.#buttons()
  }

  #buttons(): void {
    const none = this.#mask.strokes.length === 0
    // Not `disabled`, which would lose the focus of the button just pressed.
    this.#undo.ariaDisabled = String(none)
    this.#clear.ariaDisabled = String(
      this.#mask.seen.length === 0 && (this.#before === undefined || this.#mask.cleared)
    )
  }
}
