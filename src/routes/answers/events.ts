import { Readable } from 'node:stream'
import { type TUnsafe, Type } from 'typebox'
import { errorBody } from '../../errors.js'
import type { Numbered, Run } from '../../service/run.js'
import { imageJson } from './json.js'

/** What is in the stream, for the OpenAPI document. */
export const EVENTS_DESCRIPTION = [
  'Server-sent events with growing ids; data is JSON.',
  '`queued` {id, position, estimate_seconds}; `started` {id}; `progress` {id, image, step, of, eta_seconds};',
  '`preview` {id, image, step, width, height, mime_type, data}; `image` {id, index, seed, mime_type, width, height, data, recipe};',
  'at last `done` {id, timings, truncated}, or `error` with the body of an error answer (and retry_after).'
].join(' ')

/** A stream's schema has no type: some readers of OpenAPI 3.1 hold each event to it, others the text of all of them. */
export function eventsSchema(description: string): TUnsafe<Readable> {
  return Type.Unsafe<Readable>({ description })
}

/** Proxies close a connection that says nothing; a comment now and then keeps it open. */
const KEEP_ALIVE_MS = 15_000

/** Headers of an event stream: no cache keeps it, and nginx does not collect it before passing it on. */
export const EVENT_HEADERS = { 'cache-control': 'no-store', 'x-accel-buffering': 'no' }

/**
 * A run's events as a stream of server-sent events: those after `after` that are kept, and then each as it happens.
 * The stream ends with the run. When it is closed before, `onClose` is called all the same.
 *
 * @param textOf the text of one event, empty for one that is left out
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export function eventStream(run: Run, { after, textOf, onClose }: { after: number; textOf: (event: Numbered) => string; onClose: () => void }): Readable {
  const stream = new Readable({ read: () => undefined })
  const keepAlive = setInterval(() => stream.push(': keep-alive\n\n'), KEEP_ALIVE_MS)
  let over = false
  const unwatch = run.watch(after, (event) => {
    const text = textOf(event)
    if (text !== '') stream.push(text)
    over = event.type === 'done' || event.type === 'error'
    if (over) stream.push(null)
  })
  // Of a run that has ended, the end itself may have been seen already.
  if (run.ended && !over) stream.push(null)
  stream.once('close', () => {
    clearInterval(keepAlive)
    unwatch()
    onClose()
  })
  return stream
}

/** One of Easel's own events. */
export function eventText(run: Run, event: Numbered, withRecipe: boolean): string {
  return `id: ${event.number}\nevent: ${event.type}\ndata: ${JSON.stringify(dataOf(run, event, withRecipe))}\n\n`
}

function dataOf(run: Run, event: Numbered, withRecipe: boolean): object {
  const { id } = run
  switch (event.type) {
    case 'queued':
      return { id, position: event.position, estimate_seconds: event.estimate_seconds }
    case 'started':
      return { id }
    case 'progress':
      return { id, image: event.image, step: event.step, of: event.of, eta_seconds: event.eta_seconds }
    case 'preview':
      return { id, image: event.image, step: event.step, width: event.width, height: event.height, mime_type: 'image/jpeg', data: event.jpeg.toString('base64') }
    case 'image':
      return { id, ...imageJson(event.image, withRecipe) }
    case 'error':
      return { ...errorBody(event.error, id), ...(event.error.retryAfter === undefined ? {} : { retry_after: event.error.retryAfter }) }
    case 'done':
      return { id, timings: event.timings, truncated: run.truncated }
  }
}
