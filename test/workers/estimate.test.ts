import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Forecast, type Load, stepsUntilDone } from '../../src/workers/estimate.js'

const rows = fc.integer({ min: 1, max: 16 })
const loads = fc.array(
  fc.record({ rows: fc.integer({ min: 1, max: 4 }), stepsLeft: fc.integer({ min: 0, max: 50 }) }),
  { maxLength: 30 }
)

/** Reference implementation: simulates every step. Slow and simple. */
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
  it('agrees with a simulation of every step', () => {
    fc.assert(
      fc.property(loads, rows, (loads, rows) => {
        expect(stepsUntilDone(loads, rows)).toEqual(played(loads, rows))
      })
    )
  })

  it('is at least the time of the load alone and at most the time of all loads in sequence', () => {
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
  it('is undefined until a step is measured, and includes encoding and decoding once measured', () => {
    const forecast = new Forecast()
    expect(forecast.secondsLeft(1)).toBeUndefined()
    forecast.stepTook(0.1)
    expect(forecast.secondsLeft(10)).toBeCloseTo(1)
    forecast.overheadTook(0.5)
    expect(forecast.secondsLeft(10)).toBeCloseTo(1.5)
  })

  it('expires, so that one stalled step does not refuse requests forever', () => {
    let now = 0
    const forecast = new Forecast(() => now)
    forecast.stepTook(1000)
    forecast.overheadTook(1)
    now += 119_000
    expect(forecast.secondsLeft(1)).toBeCloseTo(1001)
    now += 2000
    expect(forecast.secondsLeft(1)).toBeUndefined()
    forecast.stepTook(2)
    forecast.overheadTook(1)
    expect(forecast.secondsLeft(1)).toBeCloseTo(3)
  })

  it('handles a worker that claims 2^53-1 rows', () => {
    expect(stepsUntilDone([{ rows: 2, stepsLeft: 5 }], Number.MAX_SAFE_INTEGER)).toEqual([5])
  })

  it('follows recent step times', () => {
    const forecast = new Forecast()
    forecast.overheadTook(0)
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
