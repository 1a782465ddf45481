import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Turns } from '../src/turns.js'
import { countTurns } from './support/turns.js'

it('runs all actions in order, at most `most` per turn, and exactly `most` while more are waiting', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 5 }),
      fc.array(fc.integer({ min: 0, max: 12 }), { maxLength: 12 }),
      async (most, bursts) => {
        const counted = countTurns()
        const turns = new Turns(most)
        const done: { thing: number; turn: number }[] = []
        let things = 0
        const aTurn = () => new Promise((resolve) => setImmediate(resolve))
        for (const burst of bursts) {
          for (let i = 0; i < burst; i++) {
            const thing = things++
            turns.run(() => done.push({ thing, turn: counted.turns }))
          }
          await aTurn()
        }
        while (done.length < things) await aTurn()
        counted.stop()
        expect(done.map(({ thing }) => thing)).toEqual(Array.from({ length: things }, (_, index) => index))
        const each = new Map<number, number>()
        for (const { turn } of done) each.set(turn, (each.get(turn) ?? 0) + 1)
        for (const count of each.values()) expect(count).toBeLessThanOrEqual(most)
        expect(counted.turns).toBeLessThanOrEqual(bursts.length + Math.ceil(things / most) + 1)
      }
    )
  )
})

it('runs a single action at once', () => {
  let done = false
  new Turns(1).run(() => (done = true))
  expect(done).toBe(true)
})
