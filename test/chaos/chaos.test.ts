import { expect, it } from 'vitest'
import { run } from './run.mjs'
import { judge } from './verdict.mjs'

// `npm run chaos` does the same for longer and also checks memory. The run itself reports a hang after a minute.
it('every request ends exactly once and nothing is left over while workers die, freeze and leave and clients reconnect', async () => {
  const observed = await run({ seed: 20, clients: 24, requests: 300, stepMs: 12, faults: 4, faultEveryMs: 1200 })
  const broken = judge(observed).filter(({ ok }) => !ok)
  expect(broken).toEqual([])
  expect(
    Object.values(observed.faults).reduce((sum, count) => sum + count),
    'faults'
  ).toBeGreaterThan(0)
  expect(observed.tally.ends['image'], 'images').toBeGreaterThan(150)
}, 400_000)
