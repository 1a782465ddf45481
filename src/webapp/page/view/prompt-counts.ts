import { ServerError } from '../api/errors.js'
import type { PromptCounts as Counts, Prompts } from '../api/types.js'
import type { Client } from '../api/client.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { sentence, short } from '../lib/text.js'
import type { WeightSyntax } from '../model/weights.js'
import { Marks } from './marks.js'

const FIELDS = ['prompt', 'negative_prompt', 'prompt_2', 'negative_prompt_2'] as const
type Name = (typeof FIELDS)[number]
type Count = NonNullable<Counts[Name]>

/** Pause in typing before the server is asked. */
const PAUSE_MS = 250

/** Maximum characters that are shown of the text that is cut. */
const SHOWN = 24

interface Events {
  /** The visitor wants weights to be read in this syntax. */
  syntax: WeightSyntax
  /** A prompt has just become too long. */
  over: string
}

/** Counts the tokens of the prompts while the visitor writes, and marks where they are cut. */
export class PromptCounts extends Emitter<Events> {
  readonly #client: Pick<Client, 'count'>
  readonly #lines = new Map(FIELDS.map((name) => [name, byId(`${name}-count`, HTMLParagraphElement)]))
  readonly #marks = new Map(
    (['prompt', 'negative_prompt'] as const).map((name) => [name as Name, new Marks(byId(name, HTMLTextAreaElement))])
  )
  readonly #over = new Set<Name>()
  readonly #most = Number(byId('prompt', HTMLTextAreaElement).dataset['most'])
  #prompts: Prompts = {}
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Whether the server has no such route, as older ones. */
  #unknown = false

  constructor(client: Pick<Client, 'count'>) {
    super()
    this.#client = client
  }

  /** Shows the counts of these prompts, once the visitor pauses. */
  show(prompts: Prompts): void {
    this.#prompts = prompts
    for (const name of FIELDS) {
      this.#marks.get(name)?.write(prompts[name] ?? '')
      if (!prompts[name]) this.#clear(name)
    }
    clearTimeout(this.#timer)
    const lengths = FIELDS.map((name) => prompts[name]?.length ?? 0)
    // The server refuses longer texts.
    const askable = lengths.every((length) => length <= this.#most) && Math.max(...lengths) > 0
    if (askable && !this.#unknown) this.#timer = setTimeout(() => void this.#ask(prompts), PAUSE_MS)
  }

  async #ask(prompts: Prompts): Promise<void> {
    const answer = await this.#client.count(prompts).catch((error: unknown) => error)
    // The visitor has written more in the meantime.
    if (prompts !== this.#prompts) return
    if (answer instanceof ServerError) this.#refused(answer)
    else if (!(answer instanceof Error)) this.#counted(prompts, answer as Counts)
  }

  #counted(prompts: Prompts, counts: Counts): void {
    for (const name of FIELDS) {
      const [text, count] = [prompts[name], counts[name]]
      if (!text || count === undefined) continue
      this.#marks.get(name)?.show(text, count)
      const doubt = counts.warnings.find((warning) => warning.startsWith(`${name} `))
      this.#tell(name, textOf(text, count), count.cut_at !== null)
      if (doubt !== undefined) this.#doubt(name, doubt)
    }
  }

  /** A prompt's syntax is misused, which the visitor must change. Other errors are for the request itself to show. */
  #refused({ body: { statusCode, code, field, message } }: ServerError): void {
    this.#unknown = code === 'NOT_FOUND'
    const refused = statusCode === 400 ? FIELDS.find((name) => name === field) : undefined
    for (const name of FIELDS) this.#clear(name)
    if (refused !== undefined) this.#tell(refused, ofThisPrompt(refused, message), true)
  }

  #clear(name: Name): void {
    this.#lines.get(name)!.replaceChildren()
    this.#marks.get(name)?.clear()
    this.#over.delete(name)
  }

  #tell(name: Name, text: string, over: boolean): void {
    const line = this.#lines.get(name)!
    if (line.textContent !== text) line.textContent = text
    if (over) line.dataset['over'] = ''
    else delete line.dataset['over']
    if (over && !this.#over.has(name)) this.emit('over', text)
    if (over) this.#over.add(name)
    else this.#over.delete(name)
  }

  #doubt(name: Name, warning: string): void {
    const part = /^\w+ has (.*), which is painted as text/s.exec(warning)?.[1]
    const line = this.#lines.get(name)!
    line.append(' · ', part === undefined ? ofThisPrompt(name, warning) : `${part} is read as text. `)
    if (part === undefined || part.startsWith('<')) return
    const button = el('button', { type: 'button', className: 'link' }, 'Read it as a weight')
    const syntax = /\)(?:[\d.]|\+\+|--)/.test(part) ? 'compel' : 'a1111'
    button.addEventListener('click', () => this.emit('syntax', syntax))
    line.append(button)
  }
}

function textOf(
  text: string,
  { tokens, max_tokens: now, coming_max_tokens: most = now, chunks, cut_at }: Count
): string {
  const count = `${tokens} of ${most} tokens${chunks > 1 && most > CHUNK ? ` in ${chunks} chunks` : ''}`
  if (cut_at !== null) return `${count}. Not read: “${short(text.slice(cut_at).trim(), SHOWN)}”`
  return most > now && chunks * CHUNK > now ? `${count}. The model is still being prepared for this length` : count
}

/** Tokens in a chunk. */
const CHUNK = 75

function ofThisPrompt(name: Name, message: string): string {
  return sentence(message.replace(new RegExp(`^${name} `), 'this prompt '))
}
