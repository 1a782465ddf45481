import { describe, expect, it, onTestFinished } from 'vitest'
import { MemoryJobStore } from '../../src/jobs/memory-store.js'
import { MemoryBudget } from '../../src/memory.js'
import { BOUNDS, contract, job, type OpenStore } from './contract.js'

const MEMORY = 2 ** 26

const open: OpenStore = async (bounds) => {
  const memory = new MemoryBudget(MEMORY)
  const store = new MemoryJobStore({
    bounds: { ...BOUNDS, ...bounds },
    memory,
    makeRoom: (bytes) => memory.room('jobs') >= bytes
  })
  onTestFinished(() => store.close())
  return store
}

describe('the store in memory', () => {
  contract(open)

  it('counts its bytes in the memory budget, beside answers kept for retries', async () => {
    const memory = new MemoryBudget(MEMORY)
    const kept = memory.hold('replays', memory.most('replays') - 3000)
    let forgotten = false
    const store = new MemoryJobStore({
      bounds: BOUNDS,
      memory,
      makeRoom: (bytes) => {
        if (memory.room('jobs') < bytes) {
          forgotten = true
          kept.release()
        }
        return memory.room('jobs') >= bytes
      }
    })
    await store.submit(job('a'))
    expect([memory.used('jobs'), forgotten]).toEqual([store.counts.bytes, false])
    await store.submit(job('b'))
    expect([memory.used('jobs'), forgotten]).toEqual([store.counts.bytes, true])
    await store.close()
    expect(memory.used('jobs')).toBe(0)
  })
})
