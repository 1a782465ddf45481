import { expect, it, vi } from 'vitest'
import { Progress } from './http.mjs'

it('hangs when nobody has had an answer for a minute, and no longer after one', () => {
  vi.useFakeTimers({ toFake: ['performance'] })
  const progress = new Progress()
  vi.advanceTimersByTime(60_000)
  expect(progress.hangs).toBe(false)
  vi.advanceTimersByTime(1)
  expect(progress.hangs).toBe(true)
  progress.note()
  expect(progress.hangs).toBe(false)
  vi.useRealTimers()
})
