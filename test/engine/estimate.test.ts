import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Forecast, type Load, stepsUntilDone } from '../../src/engine/estimate.js'

const rows = fc.integer({ min: 1, max: 16 })
const loads = fc.array(
  fc.record({ rows: fc.integer({ min: 1, max: 4 }), stepsLeft: fc.integer({ min: 0, max: 50 }) }),
  { maxLength: 30 }
)

/** The same, played step by step: slow and plain. */
function played(loads: readonly Load[], rows: number): number[] {
  const waiting = loads.map((load, index) => ({ index, left: load.stepsLeft, rows: Math.min(load.rows, rows) }))
  const done: number[] = []
  let running: typeof waiting = []
  for (let step = 0; waiting.length + running.length > 0; step++) {
    for (;;) {
      for (const load of running.filter(({ left }) => left === 0)) done[load.index] = step
      running = running.filter(({ left }) => left > 0)
      const next = waiting[0]
      if (next === undefined || running.reduce((sum, load) => sum + load.rows, 0) + next.rows > rows) break
      running.push(waiting.shift()!)
    }
    for (const load of running) load.left -= 1
  }
  return done
}

describe('stepsUntilDone', () => {
  it('says what playing every step says', () => {
    fc.assert(
      fc.property(loads, rows, (loads, rows) => {
        expect(stepsUntilDone(loads, rows)).toEqual(played(loads, rows))
      })
    )
  })

  it('never says less than a load needs by itself, nor more than all need one after the other', () => {
    fc.assert(
      fc.property(loads, rows, (loads, rows) => {
        let sum = 0
        for (const [index, done] of stepsUntilDone(loads, rows).entries()) {
          sum += loads[index]!.stepsLeft
          expect(done).toBeGreaterThanOrEqual(loads[index]!.stepsLeft)
          expect(done).toBeLessThanOrEqual(sum)
        }
      })
    )
  })
})

describe('Forecast', () => {
  it('says nothing until a step was measured, and counts what is around the steps when that was too', () => {
    const forecast = new Forecast()
    expect(forecast.secondsLeft(1)).toBeUndefined()
    forecast.stepTook(0.1)
    expect(forecast.secondsLeft(10)).toBeCloseTo(1)
    forecast.aroundTook(0.5)
    expect(forecast.secondsLeft(10)).toBeCloseTo(1.5)
  })

  it('forgets: a step that stalled, long ago, does not have requests refused for ever', () => {
    let now = 0
    const forecast = new Forecast(() => now)
    forecast.stepTook(1000)
    forecast.aroundTook(1)
    now += 119_000
    expect(forecast.secondsLeft(1)).toBeCloseTo(1001)
    now += 2000
    expect(forecast.secondsLeft(1)).toBeUndefined()
    forecast.stepTook(2)
    forecast.aroundTook(1)
    expect(forecast.secondsLeft(1)).toBeCloseTo(3)
  })

  it('is not impressed by a worker that says that it has a great many rows', () => {
    expect(stepsUntilDone([{ rows: 2, stepsLeft: 5 }], Number.MAX_SAFE_INTEGER)).toEqual([5])
  })

  it('follows what steps take lately', () => {
    const forecast = new Forecast()
    forecast.aroundTook(0)
    forecast.stepTook(1)
    for (let i = 0; i < 100; i++) forecast.stepTook(3)
    expect(forecast.secondsLeft(1)).toBeCloseTo(3, 3)
    expect(
      forecast.secondsUntilDone(
        [
          { rows: 1, stepsLeft: 2 },
          { rows: 1, stepsLeft: 1 }
        ],
        1
      )
    ).toEqual([expect.closeTo(6, 2), expect.closeTo(9, 2)])
  })
})
