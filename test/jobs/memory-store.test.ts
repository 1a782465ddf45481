import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { MemoryJobStore } from '../../src/jobs/memory-store.js'
import { DELETE_AGAIN_MS, SETTLE_MS } from '../../src/jobs/store.js'
import { MemoryBudget } from '../../src/memory.js'
import { BOUNDS, contract, job, leftAt, type OpenStore } from './contract.js'
import { recordContract } from './record-contract.js'

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
  recordContract(open)

  it('gives files of a job that was cancelled once they are settled, and again if they were not deleted', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    onTestFinished(() => void vi.useRealTimers())
    const store = await open()
    await store.submit(job('a'))
    const files = { at: 'here', folder: 'a', files: ['0.png'] }
    await store.keepIn((await store.claim('me', [''], []))!, files)
    await store.cancel({ scope: '', id: 'a' }, '{}')
    for (const pause of [SETTLE_MS, DELETE_AGAIN_MS]) {
      vi.advanceTimersByTime(pause - 1)
      expect(await leftAt(store, 'here')).toEqual([])
      vi.advanceTimersByTime(1)
      expect(await leftAt(store, 'here')).toEqual([files])
    }
  })

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
