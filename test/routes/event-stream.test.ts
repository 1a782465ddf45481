import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { eventStream, eventText } from '../../src/routes/answers/events.js'
import { Run } from '../../src/service/run.js'

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] }))
afterEach(() => void vi.useRealTimers())

const newRun = () => new Run({ id: 'r', timeout: 1e6, abandonAfter: 0, truncated: [], promptTokens: 3 })
const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0, file_ms: 0, total_ms: 0 }

function open(run: Run, after = 0) {
  const onClose = vi.fn<() => void>()
  const stream = eventStream(run, { after, textOf: (event) => eventText(run, event, true), onClose })
  const text = () => String(stream.read() ?? '')
  return { stream, onClose, text }
}

describe('eventStream', () => {
  it('says something now and then, so that no proxy closes it', () => {
    const { stream, text } = open(newRun())
    vi.advanceTimersByTime(61_000)
    expect(text()).toBe(': keep-alive\n\n'.repeat(4))
    stream.destroy()
  })

  it('ends with the run, and leaves no timer behind', async () => {
    const run = newRun()
    const { stream, onClose, text } = open(run)
    run.emit({ type: 'started' })
    run.succeed({ images: [], timings })
    expect(text()).toMatch(/^id: 1\nevent: started\ndata: \{"id":"r"\}\n\nid: 2\nevent: done\ndata: /)
    stream.resume()
    await new Promise((resolve) => stream.once('close', resolve))
    expect(onClose).toHaveBeenCalledOnce()
    expect(vi.getTimerCount()).toBe(0)
  })

  it('that is closed before says so once, and hears no more', async () => {
    const run = newRun()
    const { stream, onClose } = open(run)
    stream.destroy()
    await new Promise((resolve) => stream.once('close', resolve))
    run.emit({ type: 'started' })
    expect(onClose).toHaveBeenCalledOnce()
    expect(stream.readableLength).toBe(0)
    run.succeed({ images: [], timings })
  })

  it('of a run whose end was seen is empty', async () => {
    const run = newRun()
    run.succeed({ images: [], timings })
    const { stream } = open(run, 1)
    stream.resume()
    await new Promise((resolve) => stream.once('end', resolve))
    stream.destroy()
  })
})
