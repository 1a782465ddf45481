import type { Health } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration } from '../lib/format.js'

/** What the embedded demo model was trained on: coloured shapes. */
const SHAPES = [
  'a red circle on a blue background',
  'a yellow triangle on a purple background',
  'a green square on a white background'
]

const SCENES = [
  'a lighthouse in a storm, oil on canvas, visible brush strokes',
  'a kitchen garden at dawn, gouache, soft light',
  'an old violin on a windowsill, chiaroscuro, still life'
]

const MINUTE_MS = 60_000

interface Events {
  /** The visitor chose this suggested prompt. */
  take: string
}

/** The blank canvas: suggested prompts, or what the page is waiting for. */
export class Blank extends Emitter<Events> {
  readonly #title = byId('blank-title', HTMLParagraphElement)
  readonly #text = byId('blank-text', HTMLParagraphElement)
  readonly #examples = byId('examples', HTMLDivElement)
  #offered = ''

  /** @param since when the status began, in ms since 1970 @param now ms since 1970 */
  show({ status, model }: Pick<Health, 'status' | 'model'>, since: number, now: number): void {
    this.#offer(status === 'ready' ? model?.id : undefined)
    if (status === 'starting')
      this.#say(
        'The model is being prepared',
        `${sinceWords(since, now)} The first start compiles it, which can take up to an hour; later starts take minutes. Write your prompt and press Generate: it starts as soon as the model is ready.`
      )
    else if (status === 'unavailable')
      this.#say(
        'The model is restarting',
        `${sinceWords(since, now)} Write your prompt and press Generate: it starts as soon as the model is ready.`
      )
    else if (status === 'holding')
      this.#say(
        'No machine is running yet',
        'Write your prompt and press Generate: that starts one, which takes minutes, and your image waits for it.'
      )
    else
      this.#say(
        'No image yet',
        this.#offered === '' ? 'Write a prompt and press Generate.' : 'Write a prompt, or start with one of these.'
      )
  }

  #say(title: string, text: string): void {
    if (this.#title.textContent !== title) this.#title.textContent = title
    if (this.#text.textContent !== text) this.#text.textContent = text
  }

  /** Suggests prompts that suit the model. */
  #offer(model = ''): void {
    if (model === this.#offered) return
    this.#offered = model
    const prompts = model === '' ? [] : /demo|fake/i.test(model) ? SHAPES : SCENES
    this.#examples.replaceChildren(
      ...prompts.map((prompt) => {
        const button = el('button', { type: 'button', className: 'example' }, prompt)
        button.addEventListener('click', () => this.emit('take', prompt))
        return button
      })
    )
  }
}

/** E.g. "Since 14:02 (3 min)." Whole minutes are precise enough. */
function sinceWords(since: number, now: number): string {
  const time = new Date(since).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
  return now - since < MINUTE_MS
    ? `Since ${time}.`
    : `Since ${time} (${duration(Math.floor((now - since) / MINUTE_MS) * 60)}).`
}
