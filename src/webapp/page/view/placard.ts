import { copyText } from '../lib/clipboard.js'
import { curlCommand } from '../lib/curl.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration, fileName } from '../lib/format.js'
import { describeLoras } from '../model/loras.js'
import { type Picture, shapeOf, urlOf } from '../model/picture.js'
import { requestOf, sizeName } from '../model/settings.js'
import type { Announcer } from './announcer.js'

interface Events {
  reuse: Picture
  /** The visitor wants more images with these settings. */
  alike: Picture
  /** The visitor wants variations of the image. */
  vary: Picture
  /** The visitor wants to start from the image. */
  start: Picture
  remove: Picture
}

const COPIED = 'Copied the curl command for this image'

/** The buttons about the picture by their ids, and what they emit. */
const BUTTONS = [
  ['reuse', 'reuse'],
  ['remove', 'remove'],
  ['alike', 'alike'],
  ['vary', 'vary'],
  ['start-here', 'start']
] as const

/** The label of the picture, as in a museum: its prompt and how it was made. */
export class Placard extends Emitter<Events> {
  readonly #card = byId('placard', HTMLElement)
  readonly #actions = byId('actions', HTMLDivElement)
  readonly #prompt = byId('placard-prompt', HTMLParagraphElement)
  readonly #more = byId('placard-more', HTMLButtonElement)
  readonly #download = byId('download', HTMLAnchorElement)
  readonly #announcer: Announcer
  /** The models that requests can choose. */
  models: readonly string[] = []
  #picture: Picture | undefined

  constructor(announcer: Announcer) {
    super()
    this.#announcer = announcer
    for (const [id, name] of BUTTONS)
      byId(id, HTMLButtonElement).addEventListener('click', () => this.#picture && this.emit(name, this.#picture))
    byId('curl', HTMLButtonElement).addEventListener('click', () => void this.#copyCurl())
    this.#more.addEventListener('click', () => this.#unfold(this.#more.ariaExpanded !== 'true'))
    // Check on resize too: the number of lines in the prompt depends on the width.
    new ResizeObserver(() => this.#offerMore()).observe(this.#prompt)
  }

  /** Says whether the chosen model starts from pictures. */
  set starts(starts: boolean) {
    byId('vary', HTMLButtonElement).hidden = !starts
    byId('start-here', HTMLButtonElement).hidden = !starts
  }

  /** @param kept whether the picture is in the sketchbook and so can be deleted */
  show(picture: Picture | undefined, kept: boolean): void {
    const same = picture === this.#picture
    this.#picture = picture
    this.#card.hidden = picture === undefined
    this.#actions.hidden = picture === undefined
    if (picture === undefined) return
    byId('remove', HTMLButtonElement).hidden = !kept
    if (same) return
    const { recipe, blob } = picture
    this.#prompt.textContent = recipe.prompt
    this.#unfold(false)
    byId('placard-negative', HTMLParagraphElement).hidden = !recipe.negative_prompt
    byId('placard-negative-text', HTMLElement).textContent = recipe.negative_prompt ?? ''
    byId('placard-facts', HTMLParagraphElement).textContent = facts(picture)
    byId('recipe', HTMLDListElement).replaceChildren(
      ...Object.entries(recipe).flatMap(([name, value]) => [
        el('dt', {}, name),
        el('dd', { dir: 'auto' }, name === 'loras' ? describeLoras(recipe.loras ?? []) : textOf(value))
      ])
    )
    this.#download.href = urlOf(picture)
    this.#download.download = fileName(recipe.prompt, recipe.seed, blob.type)
  }

  #unfold(all: boolean): void {
    this.#more.ariaExpanded = String(all)
    this.#more.textContent = all ? 'Show less' : 'Show all'
    this.#offerMore()
  }

  #offerMore(): void {
    this.#more.hidden = this.#more.ariaExpanded !== 'true' && this.#prompt.scrollHeight <= this.#prompt.clientHeight + 1
  }

  async #copyCurl(): Promise<void> {
    if (this.#picture === undefined) return
    const { recipe } = this.#picture
    const command = curlCommand(new URL('generate', document.baseURI).href, requestOf(recipe, this.models))
    const follows = recipe.controls !== undefined || recipe.ip_adapters !== undefined
    const copied = follows
      ? `${COPIED}. It reads its pictures from files`
      : recipe.image_sha256 === undefined
        ? COPIED
        : `${COPIED}. It reads its picture from a file`
    this.#announcer.show((await copyText(command)) ? copied : 'This browser does not allow copying')
  }
}

function textOf(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

function facts(picture: Picture): string {
  const { recipe, seconds } = picture
  const { width, height } = shapeOf(picture)
  const { seed, num_inference_steps: steps, guidance_scale: guidance, scheduler, model } = recipe
  return [
    `seed ${seed}`,
    steps === undefined ? undefined : `${steps} steps`,
    guidance === undefined ? undefined : guidance > 1 ? `guidance ${guidance}` : 'no guidance',
    scheduler,
    sizeName(width, height),
    recipe.hires === undefined
      ? undefined
      : `enlarged from ${sizeName(recipe.width, recipe.height)}${recipe.hires.upscaler === undefined ? '' : ` as ${recipe.hires.upscaler}`}`,
    recipe.image_sha256 === undefined ? undefined : `from a picture, strength ${recipe.strength}`,
    recipe.truncate === true ? 'prompt truncated' : undefined,
    model,
    seconds === undefined ? undefined : `generated in ${duration(seconds)}`
  ]
    .filter((fact) => fact !== undefined)
    .join(' · ')
}
