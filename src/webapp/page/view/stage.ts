import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { type Picture, urlOf } from '../model/picture.js'
import type { Run } from '../model/run.js'

/** How blurred the first preview is, in hundredths of the canvas. It sharpens to none. */
const BLUR = 2.2

/** In place of an index: the easel holds a picture that is not of the run. */
const ASIDE = -1

interface Events {
  /** A picture is on the easel; or a run's that is not there yet. */
  show: Picture | undefined
}

/** The easel: the canvas that is painted, and small ones of all pictures of the request. */
export class Stage extends Emitter<Events> {
  readonly #easel = byId('easel', HTMLDivElement)
  readonly #frame = byId('frame', HTMLDivElement)
  readonly #layers = byId('layers', HTMLDivElement)
  readonly #blank = byId('blank', HTMLDivElement)
  readonly #tray = byId('tray', HTMLDivElement)
  #run: Run | undefined
  #index = 0

  /** Puts up the canvases of a new run. */
  begin(run: Run): void {
    this.#run = run
    this.#index = 0
    const { width, height } = run.request
    this.#shape(width ?? 1, height ?? 1)
    this.#layers.replaceChildren()
    this.#blank.hidden = true
    this.#frame.dataset['state'] = 'painting'
    this.#tray.hidden = run.slots.length < 2
    this.#tray.replaceChildren(...run.slots.map((_, index) => this.#thumb(index)))
    this.emit('show', undefined)
    // On a phone the easel is above the form.
    this.#easel.scrollIntoView({ block: 'nearest' })
    run
      .on('preview', ({ index, url, share }) => this.#preview(index, url, share))
      .on('picture', ({ index, picture }) => this.#finished(index, picture))
      .on('end', () => this.#ended(run))
  }

  /** Shows a picture that is there. What is being painted meanwhile goes on in the tray, and can be had back from it. */
  show(picture: Picture): void {
    if (this.#run?.active) {
      this.#press(ASIDE)
      this.#tray.hidden = false
    } else {
      this.#run = undefined
      this.#tray.hidden = true
    }
    this.#put(picture)
    this.#easel.scrollIntoView({ block: 'nearest' })
  }

  /** Takes the picture off the easel. */
  clear(): void {
    this.#run = undefined
    this.#tray.hidden = true
    this.#layers.replaceChildren()
    this.#blank.hidden = false
    delete this.#frame.dataset['state']
    this.emit('show', undefined)
  }

  #thumb(index: number): HTMLButtonElement {
    const thumb = el('button', { type: 'button', className: 'thumb', aria: { label: `Picture ${index + 1}`, pressed: String(index === 0) } })
    thumb.addEventListener('click', () => this.#select(index))
    return thumb
  }

  #press(index: number): void {
    this.#index = index
    for (const [i, thumb] of [...this.#tray.children].entries()) thumb.setAttribute('aria-pressed', String(i === index))
  }

  #select(index: number): void {
    this.#press(index)
    const slot = this.#run?.slots[index]
    if (slot?.picture !== undefined) return this.#put(slot.picture)
    this.#shape(this.#run?.request.width ?? 1, this.#run?.request.height ?? 1)
    this.#frame.dataset['state'] = 'painting'
    this.#layers.replaceChildren()
    this.emit('show', undefined)
    if (slot?.preview !== undefined) this.#layer(slot.preview, '', slot.of === 0 ? 0 : slot.step / slot.of)
  }

  #preview(index: number, url: string, share: number): void {
    this.#thumbImage(index, url)
    if (index === this.#index) this.#layer(url, '', share)
  }

  #finished(index: number, picture: Picture): void {
    this.#thumbImage(index, urlOf(picture))
    if (index === this.#index) this.#put(picture)
  }

  /** A run that ended early leaves what was finished; if that is nothing, the canvas is blank again. */
  #ended(run: Run): void {
    if (this.#run !== run || run.phase === 'done' || this.#index === ASIDE) return
    const index = run.slots.findIndex(({ picture }) => picture !== undefined)
    if (index === -1) this.clear()
    else if (run.slots[this.#index]?.picture === undefined) this.#select(index)
  }

  #thumbImage(index: number, url: string): void {
    this.#tray.children[index]?.replaceChildren(el('img', { src: url, alt: '' }))
  }

  #put(picture: Picture): void {
    this.#shape(picture.recipe.width, picture.recipe.height)
    this.#blank.hidden = true
    this.#frame.dataset['state'] = 'done'
    this.#layer(urlOf(picture), picture.recipe.prompt || 'A picture without a prompt', 1)
    this.emit('show', picture)
  }

  /** Lays an image over the last one, into which it fades. */
  #layer(url: string, alt: string, share: number): void {
    const image = el('img', { src: url, alt, className: 'layer' })
    image.style.setProperty('--blur', String(BLUR * (1 - Math.min(share, 1))))
    while (this.#layers.children.length > 1) this.#layers.firstElementChild?.remove()
    // The one below is for the eye only: there is one picture on the easel.
    this.#layers.firstElementChild?.setAttribute('alt', '')
    this.#layers.append(image)
  }

  #shape(width: number, height: number): void {
    this.#easel.style.setProperty('--aspect', String(width / height))
  }
}
