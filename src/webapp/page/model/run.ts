import type { Client } from '../api/client.js'
import { ServerError } from '../api/errors.js'
import type { Files, GenerateRequest, ServerEvent } from '../api/types.js'
import { fromBase64 } from '../lib/base64.js'
import { Emitter } from '../lib/events.js'
import { uuid } from '../lib/random.js'
import { type Picture, pictureId } from './picture.js'
import type { Entry } from './queue.js'
import { knownOf } from './settings.js'

export type Phase = 'asking' | 'queued' | 'painting' | 'done' | 'stopped' | 'failed'

/** A picture in progress. */
export interface Slot {
  step: number
  of: number
  /** seconds */
  eta: number | undefined
  /** URL of its newest preview. */
  preview: string | undefined
  picture: Picture | undefined
}

interface Events {
  /** Some displayed state has changed. */
  change: Run
  preview: { index: number; url: string; share: number }
  picture: { index: number; picture: Picture }
  /** Emitted exactly once for each run; with the error if it failed. */
  end: { error: unknown }
}

const IMAGE_TYPE = /^image\/(jpeg|png|webp)$/

/** A request, from the click to its end. */
export class Run extends Emitter<Events> {
  readonly id = uuid()
  readonly request: GenerateRequest
  readonly #files: Files
  readonly slots: Slot[]
  readonly #client: Client
  readonly #abort = new AbortController()
  readonly #start = performance.now()
  /** When the first step finished; the pace is measured from here. */
  #first: { at: number; share: number } | undefined
  phase: Phase = 'asking'
  /** Position in the queue, from 1. */
  position: number | undefined
  /** Seconds until this run's turn, at most. */
  estimate: number | undefined

  constructor(client: Client, { request, files }: Pick<Entry, 'request' | 'files'>) {
    super()
    this.#client = client
    this.request = request
    this.#files = files
    this.slots = Array.from({ length: request.num_images ?? 1 }, () => ({
      step: 0,
      of: 0,
      eta: undefined,
      preview: undefined,
      picture: undefined
    }))
  }

  get active(): boolean {
    return this.phase === 'asking' || this.phase === 'queued' || this.phase === 'painting'
  }

  /** Progress over all pictures, from 0 to 1. */
  get share(): number {
    const shares = this.slots.map(({ step, of, picture }) => (picture ? 1 : of === 0 ? 0 : step / of))
    return shares.reduce((sum, share) => sum + share, 0) / this.slots.length
  }

  /** Seconds until the last picture is finished: the server's estimate, else extrapolated from the pace so far. */
  get eta(): number | undefined {
    const known = this.slots.filter(({ picture }) => picture === undefined).flatMap(({ eta }) => eta ?? [])
    if (known.length > 0) return Math.max(...known)
    if (this.#first === undefined || this.share <= this.#first.share) return undefined
    return ((performance.now() - this.#first.at) / 1000 / (this.share - this.#first.share)) * (1 - this.share)
  }

  /** Runs to the end; never throws. */
  async start(): Promise<void> {
    let error: unknown
    try {
      for await (const event of this.#client.generate(
        this.request,
        { id: this.id, signal: this.#abort.signal },
        this.#files
      ))
        this.#take(event)
      this.#enter('done')
    } catch (thrown) {
      error = thrown
      this.#enter(this.#abort.signal.aborted ? 'stopped' : 'failed')
    }
    this.emit('end', { error: this.phase === 'failed' ? error : undefined })
  }

  /** Stops the run here and on the server. */
  stop(): void {
    if (!this.active || this.#abort.signal.aborted) return
    this.#abort.abort()
    void this.#client.cancel(this.id)
  }

  #enter(phase: Phase): void {
    this.phase = phase
    this.emit('change', this)
  }

  #take(event: ServerEvent): void {
    switch (event.type) {
      case 'queued':
        this.position = event.position
        this.estimate = event.estimate_seconds ?? undefined
        return this.#enter('queued')
      case 'started':
        return this.#enter('painting')
      case 'progress':
        return this.#progress(event)
      case 'preview':
        return this.#preview(event)
      case 'image':
        return this.#image(event)
      case 'error':
        throw new ServerError(event)
      case 'done':
    }
  }

  #progress({ image, step, of, eta_seconds }: ServerEvent & { type: 'progress' }): void {
    const slot = this.slots[image]
    if (slot === undefined) return
    Object.assign(slot, { step, of, eta: eta_seconds ?? undefined })
    this.#first ??= { at: performance.now(), share: this.share }
    this.#enter('painting')
  }

  #preview({ image, step, mime_type, data }: ServerEvent & { type: 'preview' }): void {
    const slot = this.slots[image]
    if (slot === undefined || slot.picture !== undefined || !IMAGE_TYPE.test(mime_type)) return
    slot.preview = `data:${mime_type};base64,${data}`
    this.emit('preview', { index: image, url: slot.preview, share: slot.of === 0 ? 0 : step / slot.of })
  }

  #image({ index, mime_type, data, recipe, ...image }: ServerEvent & { type: 'image' }): void {
    const slot = this.slots[index]
    // Ignore a repeated event, e.g. after a broken stream: it is the same image.
    if (slot === undefined || slot.picture !== undefined) return
    slot.picture = {
      id: pictureId(this.id, index),
      createdAt: Date.now(),
      blob: new Blob([fromBase64(data)], { type: IMAGE_TYPE.test(mime_type) ? mime_type : 'image/png' }),
      recipe: recipe ?? knownOf(this.request, image),
      size: { width: image.width, height: image.height },
      seconds: (performance.now() - this.#start) / 1000
    }
    this.emit('picture', { index, picture: slot.picture })
    this.emit('change', this)
  }
}
