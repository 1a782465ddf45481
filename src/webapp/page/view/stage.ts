import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { short } from '../lib/text.js'
import { type Picture, shapeOf, urlOf } from '../model/picture.js'
import type { Run } from '../model/run.js'
import { Roving } from './roving.js'

/** Blur of the first preview, in hundredths of the canvas. Decreases to 0. */
const BLUR = 2.2

/** Used as the index while the easel shows a picture from outside the run. */
const ASIDE = -1

/** Maximum characters of a prompt in alt text. */
const SAID = 300

interface Events {
  /** The picture on the easel; undefined while the run's is not finished. */
  show: Picture | undefined
}

/** The easel: a large canvas, and thumbnails of all pictures of the request. */
export class Stage extends Emitter<Events> {
  readonly #stage = byId('stage', HTMLElement)
  readonly #easel = byId('easel', HTMLDivElement)
  readonly #frame = byId('frame', HTMLDivElement)
  readonly #layers = byId('layers', HTMLDivElement)
  readonly #blank = byId('blank', HTMLDivElement)
  readonly #tray = byId('tray', HTMLDivElement)
  readonly #roving = new Roving(this.#tray)
  #run: Run | undefined
  #index = 0
  /** Whether the easel shows a picture from outside the run, chosen by the visitor. */
  #aside = false

  constructor() {
    super()
    // While the canvas is in view, the styles disable scroll anchoring below it, so that changes there do not move it.
    new IntersectionObserver(([entry]) => seen(entry!.isIntersecting), { threshold: 0.5 }).observe(this.#frame)
  }

  /**
   * Shows the canvas and thumbnails of a new run.
   *
   * @param byHand whether the visitor has just requested it. Other runs do not replace a picture the visitor opened.
   */
  begin(run: Run, byHand: boolean): void {
    this.#run = run
    this.#tray.replaceChildren(...run.slots.map((_, index) => this.#thumb(index)))
    if (this.#aside && !byHand) this.#turnAside()
    else {
      this.#tray.hidden = run.slots.length < 2
      this.#select(0)
    }
    // On a phone the easel is above the form, out of view.
    if (byHand) this.#scrollThere()
    run
      .on('preview', ({ index, url, share }) => this.#preview(index, url, share))
      .on('picture', ({ index, picture }) => this.#finished(index, picture))
      .on('end', () => this.#ended(run))
  }

  /** Shows a finished picture. */
  show(picture: Picture): void {
    const index = this.#run?.slots.findIndex((slot) => slot.picture?.id === picture.id) ?? -1
    if (index !== -1) this.#select(index)
    else {
      this.#turnAside()
      this.#put(picture)
    }
    this.#scrollThere()
  }

  /** Hides a deleted picture's thumbnail, or shows that of a restored one. */
  mark(picture: Picture, deleted: boolean): void {
    const index = this.#run?.slots.findIndex((slot) => slot.picture?.id === picture.id) ?? -1
    const thumb = this.#tray.children[index]
    if (!(thumb instanceof HTMLElement)) return
    thumb.hidden = deleted
    // Deletion revoked the old URL.
    if (!deleted) this.#thumbImage(index, urlOf(picture))
    this.#roving.refresh()
  }

  /** Removes the picture from the easel, and shows the one in progress, if any. */
  clear(): void {
    const open = this.#run?.active === true ? this.#run.slots.findIndex((slot) => slot.picture === undefined) : -1
    if (open !== -1) return this.#select(open)
    this.#run = undefined
    this.#aside = false
    this.#tray.hidden = true
    this.#layers.replaceChildren()
    this.#blank.hidden = false
    delete this.#frame.dataset['state']
    this.emit('show', undefined)
  }

  #scrollThere(): void {
    // The scroll is about to bring it into view.
    seen(true)
    this.#easel.scrollIntoView({ block: 'nearest' })
  }

  #thumb(index: number): HTMLButtonElement {
    const thumb = el('button', {
      type: 'button',
      role: 'option',
      className: 'thumb',
      aria: { label: `Image ${index + 1}`, selected: 'false' }
    })
    thumb.addEventListener('click', () => this.#select(index))
    return thumb
  }

  /** Makes room for a picture from outside the run. A run in progress stays in the tray, where it can be reopened. */
  #turnAside(): void {
    this.#aside = true
    if (this.#run?.active !== true) this.#run = undefined
    this.#mark(ASIDE)
    this.#tray.hidden = this.#run === undefined
  }

  #mark(index: number): void {
    this.#index = index
    for (const [i, thumb] of [...this.#tray.children].entries())
      thumb.setAttribute('aria-selected', String(i === index))
    this.#roving.refresh()
  }

  #select(index: number): void {
    this.#aside = false
    this.#mark(index)
    const slot = this.#run?.slots[index]
    if (slot?.picture !== undefined) return this.#put(slot.picture)
    this.#shape(this.#run?.request.width ?? 1, this.#run?.request.height ?? 1)
    this.#blank.hidden = true
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

  /** After a run that ended early, shows a finished picture, or a blank canvas if it has none. */
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
    const { width, height } = shapeOf(picture)
    this.#shape(width, height)
    this.#blank.hidden = true
    this.#frame.dataset['state'] = 'done'
    this.#layer(urlOf(picture), short(picture.recipe.prompt, SAID) || 'Image without a prompt', 1)
    this.emit('show', picture)
  }

  /** Adds an image over the previous one, which it fades in over. */
  #layer(url: string, alt: string, share: number): void {
    const image = el('img', { src: url, alt, className: 'layer' })
    image.style.setProperty('--blur', String(BLUR * (1 - Math.min(share, 1))))
    while (this.#layers.children.length > 1) this.#layers.firstElementChild?.remove()
    // Hide the image below from screen readers: there is one picture on the easel.
    this.#layers.firstElementChild?.setAttribute('alt', '')
    this.#layers.append(image)
  }

  #shape(width: number, height: number): void {
    this.#stage.style.setProperty('--aspect', String(width / height))
  }
}

/** Tells the styles whether the canvas is in view. */
function seen(inSight: boolean): void {
  document.documentElement.dataset['easel'] = inSight ? 'seen' : 'away'
}
