import { Readable } from 'node:stream'
import { type TUnsafe, Type } from 'typebox'
import { errorBody } from '../../errors.js'
import type { Numbered, Run } from '../../service/run.js'
import { jsonWithFile, type Piece, slicesOf } from './body.js'
import { imageJson, reportJson } from './json.js'

/** Describes the stream in the OpenAPI document. */
export const EVENTS_DESCRIPTION = [
  'Server-sent events with increasing ids and JSON data.',
  '`queued` {id, position, estimate_seconds}; `started` {id}; `progress` {id, image, step, of, eta_seconds};',
  '`preview` {id, image, step, width, height, mime_type, data}; `image` {id, index, seed, mime_type, width, height, data, recipe};',
  'finally `done` {id, timings, truncated, warnings, usage}, or `error` with the body of an error answer (and retry_after).',
  'After an `error` with code DRAINING, retry with the same `Idempotency-Key`: another server, or this one once restarted, makes the same images.'
].join(' ')

/** A schema without a type: some OpenAPI 3.1 tools apply it to each event, others to the whole stream. */
export function eventsSchema(description: string): TUnsafe<Readable> {
  return Type.Unsafe<Readable>({ description })
}

/** Interval of keep-alive comments, without which proxies close a silent connection. */
const KEEP_ALIVE_MS = 15_000

/** The stream takes no more events while this many bytes are unread. */
const BUFFERED_BYTES = 32 * 1024

/** Headers of an event stream: keep it out of caches, and stop nginx from buffering it. */
export const EVENT_HEADERS = { 'cache-control': 'no-store', 'x-accel-buffering': 'no' }

/** Serializes an event to pieces; an empty list omits the event. */
export type PiecesOf = (event: Numbered) => readonly Piece[]

/**
 * A run's events as server-sent events: first the kept ones numbered above `after`, then each new one. Ends with the
 * run.
 *
 * The stream takes the next event only when its reader has room. A slow reader therefore costs no more memory than a
 * fast one; it misses events that newer ones have superseded.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export class EventStream extends Readable {
  readonly #run: Run
  readonly #piecesOf: PiecesOf
  readonly #unwatch: () => void
  readonly #keepAlive: NodeJS.Timeout
  /** Number of the last event taken from the run. */
  #last: number
  /** The unsent rest of that event. */
  #slices: Iterator<Buffer> = slicesOf([])
  /** Whether the reader has room (backpressure). */
  #wanted = true

  constructor(run: Run, { after, piecesOf }: { after: number; piecesOf: PiecesOf }) {
    super({ highWaterMark: BUFFERED_BYTES })
    this.#run = run
    this.#piecesOf = piecesOf
    this.#last = after
    this.#unwatch = run.watch(() => this.#fill())
    // Skip the comment while the reader is behind: the data it still has to read keeps the connection open.
    this.#keepAlive = setInterval(() => {
      if (this.#wanted) this.#wanted = this.push(': keep-alive\n\n')
    }, KEEP_ALIVE_MS)
    this.#fill()
  }

  override _read(): void {
    this.#wanted = true
    this.#fill()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#stop()
    done(error)
  }

  #fill(): void {
    while (this.#wanted && !this.destroyed) {
      const slice = this.#slices.next()
      if (slice.done !== true) {
        this.#wanted = this.push(slice.value)
        continue
      }
      const event = this.#run.eventAfter(this.#last)
      if (event === undefined) {
        if (!this.#run.ended) return
        this.#stop()
        this.#wanted = false
        this.push(null)
        return
      }
      this.#last = event.number
      this.#slices = slicesOf(this.#piecesOf(event))
    }
  }

  #stop(): void {
    clearInterval(this.#keepAlive)
    this.#unwatch()
  }
}

/**
 * Serializes Easel's own events. Each event is serialized once for all its watchers, which share its file; base64 is
 * encoded as each watcher reads.
 */
export function eventTexts(withRecipe: boolean): (run: Run) => PiecesOf {
  const known = new WeakMap<Numbered, readonly Piece[]>()
  return (run) => (event) => {
    const pieces = known.get(event) ?? [
      `id: ${event.number}\nevent: ${event.type}\n${retryOf(event)}data: `,
      ...dataOf(run, event, withRecipe),
      '\n\n'
    ]
    known.set(event, pieces)
    return pieces
  }
}

/** SSE `retry`: when to reconnect, e.g. to another server with the same idempotency key after a drain. */
function retryOf(event: Numbered): string {
  return event.type === 'error' && event.error.retryAfter !== undefined
    ? `retry: ${event.error.retryAfter * 1000}\n`
    : ''
}

function dataOf(run: Run, event: Numbered, withRecipe: boolean): Piece[] {
  const { id } = run
  switch (event.type) {
    case 'queued':
      return json({ id, position: event.position, estimate_seconds: event.estimate_seconds })
    case 'started':
      return json({ id })
    case 'progress':
      return json({ id, image: event.image, step: event.step, of: event.of, eta_seconds: event.eta_seconds })
    case 'preview':
      return jsonWithFile(
        { id, image: event.image, step: event.step, width: event.width, height: event.height, mime_type: 'image/jpeg' },
        'data',
        event.jpeg
      )
    case 'image':
      return imageJson(event.image, withRecipe, { id })
    case 'error':
      return json({
        ...errorBody(event.error, id),
        ...(event.error.retryAfter === undefined ? {} : { retry_after: event.error.retryAfter })
      })
    case 'done':
      return json({ id, timings: event.timings, ...reportJson(run, event.used) })
  }
}

function json(data: object): Piece[] {
  return [JSON.stringify(data)]
}
