import { copyText } from '../lib/clipboard.js'
import { curlCommand } from '../lib/curl.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration, fileName } from '../lib/format.js'
import { describeLoras } from '../model/loras.js'
import { type Picture, urlOf } from '../model/picture.js'
import { requestOf, sizeName } from '../model/settings.js'
import type { Announcer } from './announcer.js'

interface Events {
  reuse: Picture
  remove: Picture
}

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
    byId('reuse', HTMLButtonElement).addEventListener('click', () => this.#picture && this.emit('reuse', this.#picture))
    byId('remove', HTMLButtonElement).addEventListener(
      'click',
      () => this.#picture && this.emit('remove', this.#picture)
    )
    byId('curl', HTMLButtonElement).addEventListener('click', () => void this.#copyCurl())
    this.#more.addEventListener('click', () => this.#unfold(this.#more.ariaExpanded !== 'true'))
    // Check on resize too: the number of lines in the prompt depends on the width.
    new ResizeObserver(() => this.#offerMore()).observe(this.#prompt)
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
        el('dd', { dir: 'auto' }, name === 'loras' ? describeLoras(recipe.loras ?? []) : String(value))
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
    this.#announcer.show(
      (await copyText(command)) ? 'Copied the curl command for this image' : 'This browser does not allow copying'
    )
  }
}

function facts({ recipe, seconds }: Picture): string {
  const { seed, num_inference_steps: steps, guidance_scale: guidance, scheduler, model } = recipe
  return [
    `seed ${seed}`,
    steps === undefined ? undefined : `${steps} steps`,
    guidance === undefined ? undefined : guidance > 1 ? `guidance ${guidance}` : 'no guidance',
    scheduler,
    sizeName(recipe.width, recipe.height),
    recipe.truncate === true ? 'prompt truncated' : undefined,
    model,
    seconds === undefined ? undefined : `generated in ${duration(seconds)}`
  ]
    .filter((fact) => fact !== undefined)
    .join(' · ')
}
