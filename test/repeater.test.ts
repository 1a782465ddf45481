import { expect, it } from 'vitest'
import { Repeater } from '../src/repeater.js'

it('does once more what was asked for meanwhile, however often, and one at a time', async () => {
  let [begun, atOnce] = [0, 0]
  let go: () => void = () => undefined
  const repeater = new Repeater(async () => {
    begun += 1
    atOnce += 1
    expect(atOnce).toBe(1)
    await new Promise<void>((resolve) => (go = resolve))
    atOnce -= 1
  })
  repeater.ask()
  repeater.ask()
  repeater.ask()
  expect(begun).toBe(1)
  go()
  await new Promise(setImmediate)
  expect(begun).toBe(2)
  go()
  await repeater.rest()
  expect(begun).toBe(2)
})

it('forgets nothing that is asked for at any moment around its end', async () => {
  for (let ticks = 0; ticks < 12; ticks++) {
    let done = 0
    const repeater = new Repeater(async () => {
      done += 1
    })
    repeater.ask()
    for (let tick = 0; tick < ticks; tick++) await Promise.resolve()
    const before = done
    repeater.ask()
    await new Promise(setImmediate)
    expect([ticks, done > before]).toEqual([ticks, true])
  }
})
