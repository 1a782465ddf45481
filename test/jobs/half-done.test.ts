import fc from 'fast-check'
import { expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { keepHalfDone, readHalfDone } from '../../src/jobs/half-done.js'
import type { Claim, HalfDone, JobHalves } from '../../src/jobs/store.js'
import type { Log } from '../../src/logger.js'
import type { LeftImage } from '../../src/service/continuation.js'

const CLAIM: Claim = { name: { scope: '', id: 'a' }, attempt: 1, body: '', pictures: [], halfDone: [], remaining: 1 }
const USED = { encode: 0, denoise: 1.5, preview: 0, decode: 0 }
const WEIGHTS = { id: 'm', digest: 'd', dtype: 'bfloat16' }

function logged() {
  const lines: string[] = []
  const write = (_: object, message: string) => void lines.push(message)
  const log = { info: write, warn: write } as Partial<Log> as Log
  return { lines, log }
}

function left(image: number, bytes = 'state') {
  const ends: boolean[] = []
  const frame = Buffer.from(`..${bytes}`).subarray(2)
  const form = { image: 7, step: 3, evaluation: 4, bytes: frame.length, digest: 'f'.repeat(64) }
  const origin = { kind: 'k', weights: WEIGHTS }
  return { ends, image: { ...origin, image, form, frame, used: USED, end: (kept: boolean) => void ends.push(kept) } }
}

/** A store of one job. */
function halvesOf(refuse: (call: number) => unknown = () => true) {
  let [calls, kept] = [0, [] as HalfDone[]]
  const halves: JobHalves = {
    async save(_, half, first) {
      const said = refuse((calls += 1))
      if (said instanceof Error) throw said
      if (said !== true) return false
      kept = first ? [half] : [...kept, half]
      return true
    }
  }
  const claim = (): Claim => ({
    ...CLAIM,
    halfDone: kept.map(({ about, bytes }) => ({ about, read: async () => Buffer.from(bytes) }))
  })
  return { halves, claim }
}

const ROOM = { holdStates: () => ({ release: () => undefined }) }

it('what one gateway keeps another one reads', async () => {
  const images = fc.uniqueArray(fc.nat(20), { minLength: 1, maxLength: 5 })
  await fc.assert(
    fc.asyncProperty(images, fc.string({ minLength: 1 }), async (indexes, bytes) => {
      const { halves, claim } = halvesOf()
      const all = indexes.map((index) => left(index, bytes))
      const { log } = logged()
      expect(
        await keepHalfDone(
          halves,
          CLAIM,
          all.map(({ image }) => image),
          log
        )
      ).toBe(true)
      expect(all.flatMap(({ ends }) => ends)).toEqual(indexes.map(() => true))
      const read = await readHalfDone(claim(), { ...ROOM, log })
      expect(read).toMatchObject(
        all.map(({ image: { kind, weights, image, frame, used, form } }) => ({
          kind,
          weights,
          image,
          frame,
          used,
          form: { ...form, image }
        }))
      )
    })
  )
})

it('what the store refuses is said once each, and the next takes its place', async () => {
  const full = new EaselError('JOBS_FULL', 'it is full')
  const { halves, claim } = halvesOf((call) => (call === 1 ? full : true))
  const { log, lines } = logged()
  const both = [left(0), left(1)]
  expect(
    await keepHalfDone(
      halves,
      CLAIM,
      both.map(({ image }) => image),
      log
    )
  ).toBe(true)
  expect(both.map(({ ends }) => ends)).toEqual([[false], [true]])
  expect(lines).toEqual([
    'the store does not take image 0 of job a, which is half done and starts anew: it is full',
    'job a leaves with 1 images that go on at another gateway'
  ])
  expect((await readHalfDone(claim(), { ...ROOM, log })).map(({ image }) => image)).toEqual([1])
})

it.each<[string, JobHalves | undefined]>([
  ['without its claim', halvesOf(() => false).halves],
  ['to a store that ends with its gateway', undefined]
])('nothing goes %s', async (_, halves) => {
  const { log, lines } = logged()
  const one = left(0)
  expect(await keepHalfDone(halves, CLAIM, [one.image], log)).toBe(false)
  expect([one.ends, lines]).toEqual([[false], []])
})

it('leaves out what is gone, damaged, of another release or without room, and frees its memory', async () => {
  const { halves, claim } = halvesOf()
  const { log, lines } = logged()
  await keepHalfDone(halves, CLAIM, [left(0).image, left(1).image] satisfies LeftImage[], log)
  const good = claim().halfDone[0]!
  let held = 0
  const holdStates = (bytes: number) => {
    if (held > 0) return undefined
    held += bytes
    return { release: () => (held -= bytes) }
  }
  for (const bad of [
    { ...good, read: async () => undefined },
    { ...good, read: async () => Buffer.from('short').subarray(1) },
    { ...good, read: () => Promise.reject(new EaselError('JOB_STORE_UNAVAILABLE')) },
    { ...good, about: '{' },
    { ...good, about: '{"kind":"k"}' },
    { ...good, about: good.about.replace('"step":3', '"step":-3') }
  ]) {
    lines.length = 0
    expect(await readHalfDone({ ...CLAIM, halfDone: [bad] }, { holdStates, log })).toEqual([])
    expect([held, lines.length]).toEqual([0, 1])
  }
  lines.length = 0
  const some = await readHalfDone(claim(), { holdStates, log })
  expect(some).toHaveLength(1)
  expect(lines[0]).toContain('MEMORY_BUDGET')
  some[0]!.memory.release()
  expect(held).toBe(0)
})
