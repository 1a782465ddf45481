import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { short } from '../lib/text.js'
import { type Picture, urlOf } from '../model/picture.js'
import type { Run } from '../model/run.js'
import { Roving } from './roving.js'

/** How blurred the first preview is, in hundredths of the canvas. It sharpens to none. */
const BLUR = 2.2

/** In place of an index: the easel holds a picture that is not of the run. */
const ASIDE = -1

/** As much of a prompt as a screen reader should have to say. */
const SAID = 300

interface Events {
  /** A picture is on the easel; or a run's that is not there yet. */
  show: Picture | undefined
}

/** The easel: the canvas that is painted, and small ones of all pictures of the request. */
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
  /** The easel holds a picture that somebody chose, and not the run's. */
  #aside = false

  constructor() {
    super()
    // What comes and goes under a canvas that is in sight must not move it: the browser may hold fast to nothing below.
    new IntersectionObserver(([entry]) => seen(entry!.isIntersecting), { threshold: 0.5 }).observe(this.#frame)
  }

  /**
   * Puts up the canvases of a new run.
   *
   * @param byHand whether somebody has asked for it just now. A run that begins by itself leaves alone what is being looked at
   */
  begin(run: Run, byHand: boolean): void {
    this.#run = run
    this.#tray.replaceChildren(...run.slots.map((_, index) => this.#thumb(index)))
    if (this.#aside && !byHand) this.#turnAside()
    else {
      this.#tray.hidden = run.slots.length < 2
      this.#select(0)
    }
    // On a phone the easel is above the form.
    if (byHand) this.#scrollThere()
    run
      .on('preview', ({ index, url, share }) => this.#preview(index, url, share))
      .on('picture', ({ index, picture }) => this.#finished(index, picture))
      .on('end', () => this.#ended(run))
  }

  /** Shows a picture that is there. */
  show(picture: Picture): void {
    const index = this.#run?.slots.findIndex((slot) => slot.picture?.id === picture.id) ?? -1
    if (index !== -1) this.#select(index)
    else {
      this.#turnAside()
      this.#put(picture)
    }
    this.#scrollThere()
  }

  /** A picture was deleted, or is back: it goes from the tray, or comes back to it. */
  mark(picture: Picture, deleted: boolean): void {
    const index = this.#run?.slots.findIndex((slot) => slot.picture?.id === picture.id) ?? -1
    const thumb = this.#tray.children[index]
    if (!(thumb instanceof HTMLElement)) return
    thumb.hidden = deleted
    // Its address was of the deleted one.
    if (!deleted) this.#thumbImage(index, urlOf(picture))
    this.#roving.refresh()
  }

  /** Takes the picture off the easel, which goes back to what is being painted, if anything is. */
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
    // It is under way, and will be in sight.
    seen(true)
    this.#easel.scrollIntoView({ block: 'nearest' })
  }

  #thumb(index: number): HTMLButtonElement {
    const thumb = el('button', {
      type: 'button',
      role: 'option',
      className: 'thumb',
      aria: { label: `Picture ${index + 1}`, selected: 'false' }
    })
    thumb.addEventListener('click', () => this.#select(index))
    return thumb
  }

  /** Makes way for a picture that is not of the run. What is being painted goes on in the tray, and can be had back from it. */
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
    this.#layer(urlOf(picture), short(picture.recipe.prompt, SAID) || 'A picture without a prompt', 1)
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
    this.#stage.style.setProperty('--aspect', String(width / height))
  }
}

/** Tells the styles whether the canvas is in sight. */
function seen(inSight: boolean): void {
  document.documentElement.dataset['easel'] = inSight ? 'seen' : 'away'
}
