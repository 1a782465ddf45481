import { NetworkError, ServerError } from '../api/errors.js'
import type { ErrorCode } from '../../../errors.js'
import type { ErrorBody } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { duration } from '../lib/format.js'

interface Events {
  retry: undefined
}

const TITLES: Readonly<Partial<Record<string, string>> & Partial<Record<ErrorCode, string>>> = {
  QUEUE_FULL: 'Every easel is taken',
  RATE_LIMITED: 'That was a lot at once',
  CONCURRENCY_LIMITED: 'Your easels are all taken',
  CANCELLED: 'It was cancelled',
  NOT_READY: 'The painter is not ready yet',
  DRAINING: 'The server is being restarted',
  DEADLINE_UNREACHABLE: 'That would take too long',
  DEADLINE_EXCEEDED: 'That took too long',
  PROMPT_TOO_LONG: 'The prompt is too long',
  NO_RECIPE: 'This picture carries no recipe'
}

const TITLES_OF_STATUS: Readonly<Record<number, string>> = {
  400: 'The server cannot paint that',
  413: 'That is too large',
  429: 'Too much at once',
  503: 'The server is not ready',
  504: 'That took too long'
}

const TOO_LONG = new Set<string>(['DEADLINE_UNREACHABLE', 'DEADLINE_EXCEEDED'] satisfies ErrorCode[])

/** Says what went wrong, and when another try has a chance. */
export class Notice extends Emitter<Events> {
  readonly #place = byId('notice', HTMLDivElement)
  #timer: ReturnType<typeof setInterval> | undefined

  hide(): void {
    clearInterval(this.#timer)
    this.#place.replaceChildren()
  }

  /** @param retry whether the same can be asked for again */
  show(error: unknown, { retry = true }: { retry?: boolean } = {}): void {
    this.hide()
    const { title, text, wait, id } = describe(error)
    const message = el('div', { role: 'alert' }, el('p', { className: 'notice-title' }, title), el('p', { className: 'notice-text' }, text))
    if (id !== undefined) message.append(el('p', { className: 'notice-id' }, `Request ${id}`))
    const close = el('button', { type: 'button', className: 'quiet', aria: { label: 'Dismiss' } }, 'Dismiss')
    close.addEventListener('click', () => this.hide())
    const actions = el('div', { className: 'notice-actions' }, close)
    if (retry) actions.prepend(this.#retryButton(wait))
    this.#place.replaceChildren(el('div', { className: 'notice' }, message, actions))
  }

  /** A button that counts the wait down and then is there to press. */
  #retryButton(wait: number): HTMLButtonElement {
    const button = el('button', { type: 'button', className: 'retry' })
    const end = Date.now() + wait * 1000
    const tick = () => {
      const left = Math.ceil((end - Date.now()) / 1000)
      button.disabled = left > 0
      button.textContent = left > 0 ? `Try again in ${duration(left)}` : 'Try again'
      if (left <= 0) clearInterval(this.#timer)
    }
    this.#timer = setInterval(tick, 250)
    tick()
    button.addEventListener('click', () => {
      this.hide()
      this.emit('retry', undefined)
    })
    return button
  }
}

interface Description {
  title: string
  text: string
  /** Seconds until another try has a chance. */
  wait: number
  id?: string | undefined
}

function describe(error: unknown): Description {
  if (error instanceof ServerError) return describeAnswer(error.body)
  if (error instanceof NetworkError) return { title: 'The server cannot be reached', text: 'Look at your connection, or try again in a moment.', wait: 0 }
  return { title: 'Something went wrong in this page', text: String(error), wait: 0 }
}

function describeAnswer({ code, statusCode, message, retry_after, requestId }: ErrorBody): Description {
  return {
    title: TITLES[code] ?? TITLES_OF_STATUS[statusCode] ?? 'That did not work',
    text: TOO_LONG.has(code) ? `${message}. Fewer steps, or a smaller or single picture, take less time.` : message,
    wait: retry_after ?? 0,
    // What an operator looks for in the log.
    id: statusCode >= 500 ? requestId : undefined
  }
}
