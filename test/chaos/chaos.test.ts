import { expect, it } from 'vitest'
import { run } from './run.mjs'
import { judge } from './verdict.mjs'

// `npm run chaos` does the same for longer and also checks memory. The run itself reports a hang after a minute without
// any answer, so its time limit only bounds how slow a machine may be.
it('every request ends exactly once and nothing is left over while workers die, freeze and leave and clients reconnect', async ({
  signal
}) => {
  const plan = { seed: 20, clients: 24, requests: 300, stepMs: 12, faults: 4, faultEveryMs: 1200 }
  const observed = await run(plan, signal)
  const broken = judge(observed).filter(({ ok }) => !ok)
  expect(broken).toEqual([])
  expect(
    Object.values(observed.faults).reduce((sum, count) => sum + count),
    'faults'
  ).toBeGreaterThan(0)
  expect(observed.tally.ends['image'], 'images').toBeGreaterThan(150)
}, 900_000)
