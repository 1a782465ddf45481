import { byId } from '../lib/dom.js'
import { duration, ordinal } from '../lib/format.js'
import type { Run } from '../model/run.js'
import type { Announcer } from './announcer.js'

const TITLE = document.title

/** Shows the run's progress on the ledge of the easel, in words, in the tab's title, and to screen readers. */
export class Progress {
  readonly #bar = byId('progress', HTMLDivElement)
  readonly #text = byId('progress-text', HTMLParagraphElement)
  readonly #announcer: Announcer
  #quarter = 0

  constructor(announcer: Announcer) {
    this.#announcer = announcer
  }

  begin(run: Run): void {
    this.#quarter = 0
    run.on('change', () => this.#show(run))
    this.#show(run)
  }

  /** Clears the text about a run that has ended. */
  forget(): void {
    this.#text.textContent = ''
  }

  /** Shows whether the model is being prepared. Call only while no run is active. */
  prepare(preparing: boolean): void {
    const { phase } = this.#bar.dataset
    if (preparing === (phase === 'preparing')) return
    if (preparing) {
      this.#bar.dataset['phase'] = 'preparing'
      this.#bar.setAttribute('aria-valuetext', 'The model is being prepared')
    } else {
      delete this.#bar.dataset['phase']
      this.#bar.removeAttribute('aria-valuetext')
    }
    document.title = preparing ? `Preparing · ${TITLE}` : TITLE
  }

  #show(run: Run): void {
    const percent = Math.floor(run.share * 100)
    this.#bar.style.setProperty('--share', String(run.active || run.phase === 'done' ? run.share : 0))
    this.#bar.dataset['phase'] = run.phase
    this.#bar.setAttribute('aria-valuenow', String(percent))
    const words = describe(run)
    this.#bar.setAttribute('aria-valuetext', words)
    this.#text.textContent = words
    document.title = run.active ? `${run.phase === 'painting' ? `${percent} %` : 'Waiting'} · ${TITLE}` : TITLE
    this.#announce(run, percent)
  }

  /** Announces only new phases and each quarter, to avoid constant interruptions. */
  #announce(run: Run, percent: number): void {
    const quarter = Math.floor(percent / 25)
    if (run.phase === 'queued') this.#announcer.say(describe(run))
    else if (run.phase === 'done')
      this.#announcer.say(run.slots.length > 1 ? `${run.slots.length} images are finished` : 'The image is finished')
    else if (run.phase === 'stopped') this.#announcer.say('Stopped')
    else if (run.phase === 'painting' && (quarter > this.#quarter || percent === 0))
      this.#announcer.say(percent === 0 ? 'Generating' : `${quarter * 25} percent`)
    this.#quarter = quarter
  }
}

function describe(run: Run): string {
  switch (run.phase) {
    case 'asking':
      return 'Sending the request …'
    case 'queued': {
      const wait = run.estimate === undefined ? '' : ` · about ${duration(run.estimate)}`
      return run.position === undefined || run.position < 1
        ? `Waiting${wait}`
        : `${ordinal(run.position)} in the queue${wait}`
    }
    case 'painting':
      return painting(run)
    case 'done': {
      const { seconds } = run.slots.at(-1)?.picture ?? {}
      return seconds === undefined ? 'Finished' : `Finished in ${duration(seconds)}`
    }
    case 'stopped':
      return 'Stopped'
    case 'failed':
      return ''
  }
}

function painting(run: Run): string {
  const eta = run.eta === undefined ? '' : ` · ${run.eta < 1 ? 'almost done' : `about ${duration(run.eta)} left`}`
  const open = run.slots.filter(({ picture }) => picture === undefined)
  const [first] = open
  if (first === undefined || first.of === 0) return 'Starting …'
  if (run.slots.length === 1) return `Step ${first.step} of ${first.of}${eta}`
  return `${run.slots.length - open.length} of ${run.slots.length} finished · ${Math.min(99, Math.floor(run.share * 100))} %${eta}`
}
