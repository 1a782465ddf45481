import { expect, it } from 'vitest'
import { run } from './run.mjs'
import { judge } from './verdict.mjs'

// `npm run chaos` is the same for longer, and looks at memory, too. When something hangs, the run itself says so after a minute.
it('workers die, freeze and leave, clients disconnect and come back: every request has its one right end, and nothing is left over', async () => {
  const observed = await run({ seed: 20, clients: 24, requests: 300, stepMs: 12, faults: 4, faultEveryMs: 1200 })
  const broken = judge(observed).filter(({ ok }) => !ok)
  expect(broken).toEqual([])
  expect(
    Object.values(observed.faults).reduce((sum, count) => sum + count),
    'faults'
  ).toBeGreaterThan(0)
  expect(observed.tally.ends['image'], 'images').toBeGreaterThan(150)
}, 180_000)
