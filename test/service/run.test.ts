import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { type Finished, Run, type RunEvent, type RunOptions } from '../../src/service/run.js'
import { noPrompts } from '../support/prompts.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const options: RunOptions = { id: 'r', timeout: 1000, abandonAfter: 0, prompts: noPrompts }
const finished = {
  images: [],
  timings: { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0, file_ms: 0, total_ms: 0 }
} satisfies Finished

function seenBy(run: Run, after = 0): { number: number; type: string }[] {
  const events: { number: number; type: string }[] = []
  let last = after
  const read = () => {
    for (let event = run.eventAfter(last); event !== undefined; event = run.eventAfter(last)) {
      last = event.number
      events.push({ number: event.number, type: event.type })
    }
  }
  run.watch(read)
  read()
  return events
}

describe('a run', () => {
  it('ends once and reports it once, however often it is told to end', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('succeed', 'fail', 'cancel', 'wait'), { minLength: 1, maxLength: 8 }),
        async (ends) => {
          const run = new Run(options)
          const outcomes: (string | undefined)[] = []
          run.onEnd((error) => outcomes.push(error?.code))
          const events = seenBy(run)
          run.signal.addEventListener('abort', () => run.fail(run.signal.reason))
          for (const end of ends) {
            if (end === 'succeed') run.succeed(finished)
            else if (end === 'fail') run.fail(new EaselError('OUT_OF_MEMORY'))
            else if (end === 'cancel') run.cancel()
            else vi.advanceTimersByTime(1001)
          }
          const first = { succeed: undefined, fail: 'OUT_OF_MEMORY', cancel: 'CANCELLED', wait: 'DEADLINE_EXCEEDED' }[
            ends[0]!
          ]
          expect(outcomes).toEqual([first])
          expect(events.map(({ type }) => type)).toEqual([first === undefined ? 'done' : 'error'])
          await expect(run.finished.catch(({ code }: EaselError) => code)).resolves.toEqual(first ?? finished)
          expect(vi.getTimerCount()).toBe(0)
        }
      )
    )
  })

  it('stops once its last client has left, at once or after abandonAfter, and not before', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5 }), fc.constantFrom(0, 500), (clients, abandonAfter) => {
        const run = new Run({ ...options, abandonAfter })
        const leave = Array.from({ length: clients }, () => run.attach())
        for (const one of leave.slice(1)) one()
        for (const one of leave.slice(1)) one()
        vi.advanceTimersByTime(600)
        expect(run.signal.aborted).toBe(false)
        leave[0]!()
        expect(run.signal.aborted).toBe(abandonAfter === 0)
        vi.advanceTimersByTime(399)
        expect(run.signal.aborted).toBe(abandonAfter === 0)
        run.succeed(finished)
      })
    )
  })

  it('continues if a client returns within abandonAfter', () => {
    const run = new Run({ ...options, abandonAfter: 500 })
    run.attach()()
    vi.advanceTimersByTime(499)
    run.attach()
    vi.advanceTimersByTime(499)
    expect(run.signal.aborted).toBe(false)
  })

  it('counts toward its caller until it has ended and its clients have read the answer; watchers do not count', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom('ask', 'watch', 'leave', 'end'), { maxLength: 20 }), (acts) => {
        // A long abandonAfter, so that only `end` ends the run, not leaving clients.
        const run = new Run({ ...options, abandonAfter: 1e6 })
        const asking: (() => void)[] = []
        let ended = false
        let heard = 0
        run.onChange(() => (heard = run.weight))
        for (const act of acts) {
          if (act === 'ask') asking.push(run.attach())
          else if (act === 'watch') run.attach(false)
          else if (act === 'leave') asking.pop()?.()
          else {
            ended = true
            run.succeed(finished)
          }
          expect(run.weight).toBe(Math.max(asking.length, ended ? 0 : 1))
          expect(heard).toBe(run.weight)
        }
        run.succeed(finished)
      })
    )
  })

  it('gives a late client the events that are not superseded, and every client the later ones, in order', () => {
    const progress = (image: number, step: number): RunEvent => ({
      type: 'progress',
      image,
      step,
      of: 9,
      eta_seconds: null
    })
    const run = new Run(options)
    const early = seenBy(run)
    run.emit({ type: 'queued', position: 1, estimate_seconds: null })
    run.emit({ type: 'queued', position: 0, estimate_seconds: null })
    run.emit({ type: 'started' })
    for (const [image, step] of [
      [0, 1],
      [1, 1],
      [0, 2]
    ] as const)
      run.emit(progress(image, step))
    const late = seenBy(run)
    const resumed = seenBy(run, 4)
    run.emit(progress(1, 2))
    run.succeed(finished)
    expect(early.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(late.map(({ number }) => number)).toEqual([2, 3, 5, 6, 7, 8])
    expect(resumed.map(({ number }) => number)).toEqual([5, 6, 7, 8])
    expect(seenBy(run).map(({ type }) => type)).toEqual(['queued', 'started', 'progress', 'progress', 'done'])
  })
})
