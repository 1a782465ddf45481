import { Readable } from 'node:stream'
import { type TUnsafe, Type } from 'typebox'
import { errorBody } from '../../errors.js'
import type { Numbered, Run } from '../../service/run.js'
import { jsonWithFile, type Piece, slicesOf } from './body.js'
import { imageJson } from './json.js'

/** What is in the stream, for the OpenAPI document. */
export const EVENTS_DESCRIPTION = [
  'Server-sent events with growing ids; data is JSON.',
  '`queued` {id, position, estimate_seconds}; `started` {id}; `progress` {id, image, step, of, eta_seconds};',
  '`preview` {id, image, step, width, height, mime_type, data}; `image` {id, index, seed, mime_type, width, height, data, recipe};',
  'at last `done` {id, timings, truncated}, or `error` with the body of an error answer (and retry_after).',
  'After an `error` with the code DRAINING ask again with the same `Idempotency-Key`: another server, or the next one here, makes the same images.'
].join(' ')

/** A stream's schema has no type: some readers of OpenAPI 3.1 hold each event to it, others the text of all of them. */
export function eventsSchema(description: string): TUnsafe<Readable> {
  return Type.Unsafe<Readable>({ description })
}

/** Proxies close a connection that says nothing; a comment now and then keeps it open. */
const KEEP_ALIVE_MS = 15_000

/** A stream takes no more events while its reader leaves so many bytes of them. */
const BUFFERED_BYTES = 32 * 1024

/** Headers of an event stream: no cache keeps it, and nginx does not collect it before passing it on. */
export const EVENT_HEADERS = { 'cache-control': 'no-store', 'x-accel-buffering': 'no' }

/** Makes the text of an event, in pieces; none for one that is left out. */
export type PiecesOf = (event: Numbered) => readonly Piece[]

/**
 * A run's events as a stream of server-sent events: those after `after` that are kept, and then each as it happens.
 *
 * The stream takes an event only when its reader has taken those before, so a slow reader costs no more than a fast one:
 * it misses what newer events have superseded. It ends with the run.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export class EventStream extends Readable {
  readonly #run: Run
  readonly #piecesOf: PiecesOf
  readonly #unwatch: () => void
  readonly #keepAlive: NodeJS.Timeout
  /** Number of the last event that was taken. */
  #last: number
  /** What is left of that event. */
  #slices: Iterator<Buffer> = slicesOf([])
  /** Whether the reader has room. */
  #wanted = true

  constructor(run: Run, { after, piecesOf }: { after: number; piecesOf: PiecesOf }) {
    super({ highWaterMark: BUFFERED_BYTES })
    this.#run = run
    this.#piecesOf = piecesOf
    this.#last = after
    this.#unwatch = run.watch(() => this.#fill())
    // The next event keeps a connection open as well as a comment does: a slow reader is sent none.
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

/** Easel's own events. Each is put into words once, for all who watch; files are shared, and are made base64 as they are read. */
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

/** When a reader may connect again: a stream that ends by a drain goes on at another server, under the same key. */
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
      return json({ id, timings: event.timings, truncated: run.truncated })
  }
}

function json(data: object): Piece[] {
  return [JSON.stringify(data)]
}
