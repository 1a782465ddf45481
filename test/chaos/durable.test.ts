import { expect, it } from 'vitest'
import { runDurable } from './durable.mjs'

// `npm run chaos -- --durable` does the same with 10,000 jobs.
it.each([
  ['in the store', false, 5],
  ['in a folder, where no file is lost or left behind', true, 6]
])(
  'every job ends once with its own bytes, none is lost and none made twice in the store, and is told under one id, while gateways, workers and the store die and freeze and receivers fail; images are %s',
  async (_, results, seed) => {
    const jobs = results ? 180 : 280
    const observed = await runDurable({ seed, jobs, clients: 16, stepMs: 20, faults: 6, results, hangMs: 1000 })
    expect([observed.broken, observed.logged]).toEqual([[], []])
    expect(Object.values(observed.faults).filter((count) => count > 0).length, 'kinds of faults').toBe(6)
    expect(observed.ends['succeeded'], 'images').toBeGreaterThan(results ? 120 : 200)
    expect(Math.min(...Object.values(observed.told.failures)), 'each failure of a receiver').toBeGreaterThan(0)
    // A line when the store goes and one when it is back, at each gateway.
    expect(observed.storeLines).toBeLessThan(40)
  },
  600_000
)
