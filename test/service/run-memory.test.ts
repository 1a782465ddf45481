import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { MemoryBudget, PARTS } from '../../src/memory.js'
import { type ImageFile, Run } from '../../src/service/run.js'
import { CLIENT_BYTES, RunMemory } from '../../src/service/run-memory.js'
import { noPrompts } from '../support/prompts.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0, file_ms: 0, total_ms: 0 }
const newRun = () => new Run({ id: 'r', timeout: 1e6, abandonAfter: 1e5, prompts: noPrompts })
const makeFile = (run: Run, bytes: number) =>
  run.emit({ type: 'image', image: { bytes: Buffer.alloc(bytes) } as unknown as ImageFile })
const size = { width: 10, height: 10, images: 2 }

function used(memory: MemoryBudget): Record<string, number> {
  return Object.fromEntries(PARTS.map((part) => [part, memory.used(part)]).filter(([, bytes]) => bytes !== 0))
}

describe('RunMemory', () => {
  it('moves from pixels to files to answers as a run proceeds', () => {
    const memory = new MemoryBudget(1e9)
    const run = newRun()
    const runMemory = new RunMemory(memory, run, size)
    const leave = run.attach()
    expect(used(memory)).toEqual({ answers: CLIENT_BYTES })
    expect(runMemory.reserve()).toBe(true)
    expect(runMemory.reserve()).toBe(true)
    expect(used(memory)).toEqual({ pixels: 600, answers: CLIENT_BYTES })
    for (const bytes of [50, 60]) {
      runMemory.arrived()
      makeFile(run, bytes)
      runMemory.encoded()
    }
    expect(used(memory)).toEqual({ files: 110, answers: CLIENT_BYTES })
    run.succeed({ images: [], timings })
    expect(used(memory)).toEqual({ answers: 110 + CLIENT_BYTES })
    leave()
    expect(used(memory)).toEqual({})
  })

  it('counts a kept answer once, as an answer while it is being read', () => {
    const memory = new MemoryBudget(1e9)
    const run = newRun()
    const runMemory = new RunMemory(memory, run, { ...size, images: 1 })
    runMemory.reserve()
    runMemory.arrived()
    makeFile(run, 50)
    runMemory.encoded()
    run.succeed({ images: [], timings })
    const letGo = run.keep()
    expect(used(memory)).toEqual({ replays: 50 })
    const leave = [run.attach(), run.attach()]
    expect(used(memory)).toEqual({ answers: 50 + 2 * CLIENT_BYTES })
    letGo()
    expect(used(memory)).toEqual({ answers: 50 + 2 * CLIENT_BYTES })
    for (const one of leave) one()
    expect(used(memory)).toEqual({})
  })

  it('of a run that ended early counts pixels until the encoder releases them', () => {
    const memory = new MemoryBudget(1e9)
    const run = newRun()
    const runMemory = new RunMemory(memory, run, size)
    runMemory.reserve()
    runMemory.arrived()
    run.fail(new EaselError('CANCELLED'))
    expect(used(memory)).toEqual({ pixels: 300 })
    runMemory.encoded()
    expect(used(memory)).toEqual({})
  })

  it('refuses to reserve while there is no room', () => {
    const memory = new MemoryBudget(1000)
    const other = memory.hold('answers', 100)
    const runMemory = new RunMemory(memory, newRun(), size)
    expect(runMemory.reserve()).toBe(false)
    other.release()
    expect(runMemory.reserve()).toBe(true)
  })

  it('releases everything after any sequence of events', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom('attach', 'watch', 'leave', 'keep', 'letGo', 'reserve', 'image', 'file', 'fail', 'succeed'),
          { maxLength: 40 }
        ),
        (acts) => {
          const memory = new MemoryBudget(1e9)
          const run = newRun()
          const runMemory = new RunMemory(memory, run, size)
          const leaves: (() => void)[] = []
          const keeps: (() => void)[] = []
          let [reserved, arrived, encoded] = [false, 0, 0]
          const file = () => {
            encoded += 1
            makeFile(run, 40)
            runMemory.encoded()
          }
          for (const act of acts) {
            if (act === 'attach' || act === 'watch') leaves.push(run.attach(act === 'attach'))
            else if (act === 'leave') leaves.shift()?.()
            else if (act === 'keep') keeps.push(run.keep())
            else if (act === 'letGo') keeps.shift()?.()
            else if (act === 'reserve') reserved = run.ended || runMemory.reserve()
            else if (act === 'image' && reserved && arrived < 2 && !run.ended) {
              arrived += 1
              runMemory.arrived()
            } else if (act === 'file' && encoded < arrived) file()
            else if (act === 'fail') run.fail(new EaselError('CANCELLED'))
            else if (act === 'succeed') run.succeed({ images: [], timings })
            for (const part of PARTS) expect(memory.used(part)).toBeGreaterThanOrEqual(0)
          }
          run.fail(new EaselError('CANCELLED'))
          for (let left = arrived - encoded; left > 0; left--) file()
          for (const end of [...leaves, ...keeps]) end()
          expect(used(memory)).toEqual({})
        }
      )
    )
  })
})
