import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EventStream, eventTexts } from '../../src/routes/answers/events.js'
import { type ImageFile, Run } from '../../src/service/run.js'
import { noPrompts } from '../support/prompts.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }))
afterEach(() => void vi.useRealTimers())

const newRun = () => new Run({ id: 'r', timeout: 1e6, abandonAfter: 0, prompts: noPrompts })
const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0, file_ms: 0, total_ms: 0 }

function open(run: Run, after = 0) {
  const stream = new EventStream(run, { after, piecesOf: eventTexts(true)(run) })
  const text = () => String(stream.read() ?? '')
  return { stream, text }
}

const progress = (step: number) => ({ type: 'progress', image: 0, step, of: 999, eta_seconds: null }) as const
const imageOf = (bytes: Buffer) =>
  ({
    type: 'image',
    image: { index: 0, seed: 1, format: 'png', width: 1, height: 1, bytes, recipe: {} } as unknown as ImageFile
  }) as const

describe('eventStream', () => {
  it('sends keep-alive comments, so that proxies do not close it', () => {
    const { stream, text } = open(newRun())
    vi.advanceTimersByTime(61_000)
    expect(text()).toBe(': keep-alive\n\n'.repeat(4))
    stream.destroy()
  })

  it('ends with the run and clears its timer', async () => {
    const run = newRun()
    const { stream, text } = open(run)
    run.emit({ type: 'started' })
    run.succeed({ images: [], timings })
    expect(text()).toMatch(/^id: 1\nevent: started\ndata: \{"id":"r"\}\n\nid: 2\nevent: done\ndata: /)
    stream.resume()
    await new Promise((resolve) => stream.once('close', resolve))
    expect(vi.getTimerCount()).toBe(0)
  })

  it('takes no more events after it is closed', async () => {
    const run = newRun()
    const { stream } = open(run)
    stream.destroy()
    await new Promise((resolve) => stream.once('close', resolve))
    run.emit({ type: 'started' })
    expect(stream.readableLength).toBe(0)
    expect(vi.getTimerCount()).toBe(1)
    run.succeed({ images: [], timings })
  })

  it('is empty if the last event was already seen', async () => {
    const run = newRun()
    run.succeed({ images: [], timings })
    const { stream } = open(run, 1)
    stream.resume()
    await new Promise((resolve) => stream.once('end', resolve))
    stream.destroy()
  })

  it('buffers little for a stalled reader, and sends only current events when it resumes', () => {
    const run = newRun()
    const { stream, text } = open(run)
    const file = Buffer.alloc(5_000_000, 'x')
    run.emit(imageOf(file))
    for (let step = 1; step <= 500; step++) run.emit(progress(step))
    expect(stream.readableLength).toBeLessThan(200_000)
    run.succeed({ images: [], timings })
    let all = ''
    for (let part = text(); part !== ''; part = text()) all += part
    const events = all.split('\n\n').slice(0, -1)
    expect(events.map((event) => /event: (\w+)/.exec(event)![1])).toEqual(['image', 'progress', 'done'])
    expect(events[1]).toContain('"step":500')
    const { data } = JSON.parse(events[0]!.slice(events[0]!.indexOf('{'))) as { data: string }
    expect(Buffer.from(data, 'base64').equals(file)).toBe(true)
  })

  it('serializes an event once for all watchers', () => {
    const run = newRun()
    const toJSON = vi.fn<() => object>(() => ({}))
    const textsOf = eventTexts(true)
    const streams = Array.from({ length: 20 }, () => new EventStream(run, { after: 0, piecesOf: textsOf(run) }))
    const event = imageOf(Buffer.from('file'))
    run.emit({ ...event, image: { ...event.image, recipe: { toJSON } as never } })
    for (const stream of streams) {
      expect(String(stream.read())).toContain('"data":"ZmlsZQ=="')
      stream.destroy()
    }
    expect(toJSON).toHaveBeenCalledOnce()
    run.succeed({ images: [], timings })
  })
})
