import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { EaselError, type ErrorCode } from '../../src/errors.js'
import { fingerprintOf, IdempotencyStore } from '../../src/service/idempotency.js'
import { type ImageFile, Run } from '../../src/service/run.js'
import { noPrompts } from '../support/prompts.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0, file_ms: 0, total_ms: 0 }
const newRun = () => new Run({ id: 'r', timeout: 1e6, abandonAfter: 0, prompts: noPrompts })
const keyOf = (key: string, body: object = {}, scope = '') => ({ scope, key, fingerprint: fingerprintOf(body) })

function succeed(run: Run, bytes = 0): void {
  run.emit({ type: 'image', image: { bytes: Buffer.alloc(bytes) } as unknown as ImageFile })
  run.succeed({ images: [], timings })
}

describe('fingerprintOf', () => {
  it('ignores the order of fields and nothing else', () => {
    const bodies = fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean()))
    fc.assert(
      fc.property(bodies, bodies, (a, b) => {
        expect(fingerprintOf(Object.fromEntries(Object.entries(a).toReversed()))).toBe(fingerprintOf(a))
        const same = JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())
        expect(fingerprintOf(a) === fingerprintOf(b)).toBe(same)
      })
    )
  })
})

describe('IdempotencyStore', () => {
  it('keeps a run while it is running and for the TTL after its end', () => {
    const store = new IdempotencyStore({ ttl: 1000, maxBytes: 1e6 })
    const run = newRun()
    expect(store.find(keyOf('k'))).toBeUndefined()
    store.remember(keyOf('k'), run)
    expect(store.find(keyOf('k'))).toBe(run)
    vi.advanceTimersByTime(5000)
    expect(store.find(keyOf('k'))).toBe(run)
    succeed(run)
    vi.advanceTimersByTime(999)
    expect(store.find(keyOf('k'))).toBe(run)
    vi.advanceTimersByTime(2)
    // The entry is released on its own, without anyone looking it up.
    expect(store.size).toBe(0)
    expect(store.find(keyOf('k'))).toBeUndefined()
  })

  it('keeps scopes apart and refuses a different body under the same key', () => {
    const store = new IdempotencyStore({ ttl: 1000, maxBytes: 1e6 })
    store.remember(keyOf('k', { prompt: 'a' }, 'one'), newRun())
    expect(store.find(keyOf('k', { prompt: 'b' }, 'two'))).toBeUndefined()
    expect(() => store.find(keyOf('k', { prompt: 'b' }, 'one'))).toThrow(EaselError)
  })

  it.each<[ErrorCode, boolean]>([
    ['CANCELLED', false],
    ['DEADLINE_EXCEEDED', false],
    ['DRAINING', false],
    ['INTERNAL', false],
    ['GENERATION_FAILED', true],
    ['OUT_OF_MEMORY', true],
    ['WORKER_CRASHED', true]
  ])('after %s the answer is kept: %s', (code, kept) => {
    const store = new IdempotencyStore({ ttl: 1000, maxBytes: 1e6 })
    const run = newRun()
    store.remember(keyOf('k'), run)
    run.fail(new EaselError(code))
    expect(store.find(keyOf('k'))).toBe(kept ? run : undefined)
  })

  it('never exceeds maxBytes and evicts the oldest entries first', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 60_000 }), { maxLength: 20 }), (sizes) => {
        const store = new IdempotencyStore({ ttl: 1000, maxBytes: 100_000 })
        for (const [index, size] of sizes.entries()) {
          const run = newRun()
          store.remember(keyOf(String(index)), run)
          succeed(run, size)
        }
        const kept = sizes.map((_, index) => store.find(keyOf(String(index))) !== undefined)
        expect(kept.toSorted((a, b) => Number(a) - Number(b))).toEqual(kept)
        expect(sizes.filter((_, index) => kept[index]).reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(
          100_000
        )
        if (sizes.length > 0) expect(kept.at(-1)).toBe(true)
      })
    )
  })
})
