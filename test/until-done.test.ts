import { expect, it } from 'vitest'
import { untilDone } from '../src/until-done.js'

const NEVER = 2 ** 30

it('repeats until it is done, and returns what that says', async () => {
  let attempts = 0
  const seen: unknown[] = []
  const act = async () => {
    attempts += 1
    if (attempts < 3) throw new Error(`attempt ${attempts}`)
    return attempts
  }
  const failed = (error: unknown) => void seen.push((error as Error).message)
  expect(await untilDone(act, { pause: 0, stop: new AbortController().signal, failed })).toBe(3)
  expect(seen).toEqual(['attempt 1', 'attempt 2'])
})

it('gives up with what the judge of a failure throws', async () => {
  const failed = (error: unknown) => {
    throw error
  }
  const act = () => Promise.reject(new Error('no'))
  await expect(untilDone(act, { pause: NEVER, stop: new AbortController().signal, failed })).rejects.toThrow('no')
})

it('does not wait out its pause once it is to stop', async () => {
  const stop = new AbortController()
  const act = () => Promise.reject(new Error('away'))
  const failed = (error: unknown) => {
    if (stop.signal.aborted) throw error
    setImmediate(() => stop.abort())
  }
  await expect(untilDone(act, { pause: NEVER, stop: stop.signal, failed })).rejects.toThrow('away')
})
