import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { budgetWithin, MemoryBudget, type Part, PARTS } from '../src/memory.js'

const MIB = 2 ** 20

describe('MemoryBudget', () => {
  it('counts held bytes and never grants more than the pool has', () => {
    const act = fc.record({
      part: fc.constantFrom(...PARTS),
      bytes: fc.integer({ min: 0, max: 400 }),
      release: fc.boolean()
    })
    fc.assert(
      fc.property(fc.array(act, { maxLength: 60 }), (acts) => {
        const memory = new MemoryBudget(1000)
        const held: { part: Part; bytes: number; release: () => void }[] = []
        const sum = (...parts: Part[]) =>
          held.reduce((total, { part, bytes }) => (parts.includes(part) ? total + bytes : total), 0)
        for (const { part, bytes, release } of acts) {
          const room = memory.room(part)
          const hold = memory.tryHold(part, bytes)
          expect(hold !== undefined).toBe(bytes <= room)
          if (hold !== undefined) held.push({ part, bytes, release: hold.release })
          if (release) held.shift()?.release()
          for (const each of PARTS) expect(memory.used(each)).toBe(sum(each))
          expect(sum('uploads')).toBeLessThanOrEqual(125)
          expect(sum('inputs')).toBeLessThanOrEqual(125)
          expect(sum('replays')).toBeLessThanOrEqual(125)
          expect(sum('pixels', 'files', 'answers')).toBeLessThanOrEqual(625)
        }
      })
    )
  })

  it('releases a hold only once', () => {
    const memory = new MemoryBudget(1000)
    const hold = memory.hold('files', 10)
    memory.hold('files', 1)
    for (const _ of [1, 2]) hold.release()
    hold.resize(20)
    expect([hold.tryResize(20), memory.used('files')]).toEqual([true, 1])
  })

  it('grows a hold only while there is room', () => {
    const memory = new MemoryBudget(1000)
    const [hold, other] = [memory.hold('uploads', 10), memory.hold('uploads', 100)]
    expect([hold.tryResize(26), memory.used('uploads')]).toEqual([false, 110])
    expect([hold.tryResize(25), memory.used('uploads')]).toEqual([true, 125])
    other.release()
    expect([hold.tryResize(125), hold.tryResize(126), hold.tryResize(3)]).toEqual([true, false, true])
  })

  it('calls onRoom listeners only after bytes were released', async () => {
    const memory = new MemoryBudget(1000)
    const listener = vi.fn<() => void>()
    memory.onRoom(listener)
    const holds = [memory.hold('files', 10), memory.hold('files', 10)]
    holds[0]!.resize(20)
    await new Promise(setImmediate)
    expect(listener).not.toHaveBeenCalled()
    for (const hold of holds) hold.release()
    await new Promise(setImmediate)
    expect(listener).toHaveBeenCalledOnce()
  })
})

describe('budgetWithin', () => {
  it.each([
    [512 * MIB, 176 * MIB],
    [1024 * MIB, 432 * MIB],
    [24 * 1024 * MIB, 2048 * MIB],
    [100 * MIB, 64 * MIB]
  ])('of %i bytes is %i', (available, budget) => {
    expect(budgetWithin(available)).toBe(budget)
  })
})
