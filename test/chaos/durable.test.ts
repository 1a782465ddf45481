import { expect, it } from 'vitest'
import { runDurable } from './durable.mjs'

// `npm run chaos -- --durable` does the same with 10,000 jobs.
it('every job ends once with its own bytes, none is lost and none made twice in the store, while gateways, workers and the store die and freeze', async () => {
  const observed = await runDurable({ seed: 5, jobs: 280, clients: 16, stepMs: 20, faults: 6 })
  expect([observed.broken, observed.logged]).toEqual([[], []])
  expect(Object.values(observed.faults).filter((count) => count > 0).length, 'kinds of faults').toBe(6)
  expect(observed.ends['succeeded'], 'images').toBeGreaterThan(200)
  // A line when the store goes and one when it is back, at each gateway.
  expect(observed.storeLines).toBeLessThan(40)
}, 600_000)
