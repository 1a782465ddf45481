import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ChipLedger } from '../../src/workers/chip-ledger.js'
import type { PoolObserver } from '../../src/workers/events.js'
import type { Job } from '../../src/workers/job.js'
import type { Failed, StateForm } from '../../src/workers/protocol.js'
import { type Handover, MAX_STATE_BYTES, SavedStates } from '../../src/workers/saved-states.js'
import { Task } from '../../src/workers/task.js'

const SHARE = { key: 'a', weight: 1, priority: 'interactive' as const }
const WEIGHTS = { id: 'm', digest: 'd', dtype: 'float32' }
const FROM = { name: 'w', session: '1', kind: 'k', weights: WEIGHTS, chips: 1 }
const FORM: StateForm = { image: 0, step: 3, evaluation: 3, bytes: 4, digest: 'd'.repeat(64) }
const FRAME = Buffer.from('abcd')

/** @param room bytes of memory */
function make(room: number, images = 2) {
  const ledger = new ChipLedger()
  const ended: Handover[] = []
  let free = room
  const states = new SavedStates({
    ledger,
    hold(bytes) {
      if (bytes > free) return undefined
      free -= bytes
      return { release: () => (free += bytes) }
    },
    observer: { handover: (how) => ended.push(how) } as Partial<PoolObserver> as PoolObserver
  })
  const job = { seeds: Array.from({ length: images }, (_, seed) => seed), steps: 10 } as Partial<Job> as Job
  const task = new Task({ id: 't', job, share: SHARE, cost: 1, rows: 1, submittedAt: 0, deadline: Infinity })
  task.finished.catch(() => undefined)
  const keep = (forms: readonly StateForm[], used: Failed['used'], frames = forms.map(() => FRAME)) =>
    states.keep(
      task,
      { id: 't.1', code: 'draining', message: '', states: [...forms], ...(used === undefined ? {} : { used }) },
      frames,
      new Map(job.seeds.map((seed) => [seed, seed])),
      FROM
    )
  const read = () => {
    const { lines, inFlight } = ledger.read([])
    return { ...Object.fromEntries(lines.map(({ kind, chipSeconds }) => [kind, chipSeconds])), inFlight }
  }
  return { states, task, keep, ended, read, free: () => free }
}

it('keeps what fits, accounts for its memory, and says of each state once how it ended', () => {
  const { states, task, keep, ended, free } = make(4)
  keep([FORM, { ...FORM, image: 1 }], undefined)
  expect([...task.states.keys()]).toEqual([0])
  expect([ended, free()]).toEqual([['full'], 0])
  states.arrived(task, 0)
  states.arrived(task, 0)
  states.drop(task, 'ended')
  expect([ended, free()]).toEqual([['full', 'continued'], 4])
})

it('refuses a state that is too large for a frame to a worker', () => {
  const { task, keep, ended } = make(Infinity)
  keep([{ ...FORM, bytes: MAX_STATE_BYTES + 1 }], undefined, [Buffer.alloc(MAX_STATE_BYTES + 1)])
  expect([task.states.size, ended]).toEqual([0, ['full']])
})

it('holds the steps of images that go on; their key pays when they arrive', () => {
  const { states, task, keep, read } = make(100)
  const used = { encode_ms: 1000, denoise_ms: 5000, preview_ms: 500 }
  expect(keep([{ ...FORM, used }], used)).toEqual({ encode: 0, denoise: 5, preview: 0.5, decode: 0 })
  expect(read()).toEqual({ padding: 0, lost: 0, inFlight: 5.5 })
  const done = { encode: 0, denoise: 5, preview: 0.5, decode: 0 }
  expect(states.arrived(task, 0)).toEqual({ used: done, held: done })
  expect(read()).toMatchObject({ denoise: 5, preview: 0.5, inFlight: 0, lost: 0 })
})

it('adds up what an image used on its way through several workers', () => {
  const { states, task, keep, ended, read, free } = make(100)
  keep([{ ...FORM, used: { denoise_ms: 3000 } }], { denoise_ms: 3000 })
  keep([{ ...FORM, step: 7, used: { denoise_ms: 4000 } }], { denoise_ms: 4000 })
  expect([task.states.get(0)!.form.step, free(), ended]).toEqual([7, 96, ['continued']])
  expect(states.arrived(task, 0)).toMatchObject({ used: { denoise: 7 }, held: { denoise: 7 } })
  expect(read()).toMatchObject({ denoise: 7, inFlight: 0 })
})

it('calls the steps lost where the image starts anew, and charges them where its client cancels', () => {
  for (const [paid, denoise, lost] of [
    [false, undefined, 3],
    [true, 3, 0]
  ] as const) {
    const { states, task, keep, read } = make(100)
    keep([{ ...FORM, used: { denoise_ms: 3000 } }], { denoise_ms: 3000 })
    states.drop(task, 'ended', paid)
    expect(read()).toEqual({
      ...(denoise === undefined ? {} : { encode: 0, denoise, preview: 0, decode: 0 }),
      padding: 0,
      lost,
      inFlight: 0
    })
  }
})

it('believes no more of the images than the worker says of all', () => {
  const { task, keep, read } = make(100)
  const used = { denoise_ms: 4000 }
  expect(
    keep(
      [
        { ...FORM, used },
        { ...FORM, image: 1, used }
      ],
      { denoise_ms: 5000 }
    ).denoise
  ).toBe(4)
  expect(task.states.size).toBe(2)
  expect(read().inFlight).toBe(4)
})

const origin = { kind: 'k', weights: WEIGHTS }
const DONE = { encode: 0, denoise: 5, preview: 0, decode: 0 }

it('lets images leave for another gateway: their key pays if they are stored, otherwise they are lost', () => {
  for (const [stored, ledger, how] of [
    [true, { denoise: 3, lost: 0 }, 'stored'],
    [false, { lost: 3 }, 'ended']
  ] as const) {
    const { states, task, keep, ended, read, free } = make(100)
    keep([{ ...FORM, used: { denoise_ms: 3000 } }], { denoise_ms: 3000 })
    const [left] = states.leave(task)
    expect(left).toMatchObject({ ...origin, image: 0, form: { step: 3 }, frame: FRAME, used: { denoise: 3 } })
    expect([task.states.size, free(), ended, read().inFlight]).toEqual([0, 96, [], 3])
    left!.end(stored)
    left!.end(!stored)
    expect([free(), ended]).toEqual([100, [how]])
    expect(read()).toMatchObject({ ...ledger, inFlight: 0 })
  }
})

it('begins with images of another gateway: what was done there counts for the image, and not here', () => {
  const { states, task, keep, ended, read } = make(100, 3)
  const memory = { release: () => undefined }
  const from = { ...origin, form: FORM, frame: FRAME, used: DONE, memory }
  states.begin(task, [
    { ...from, image: 0 },
    { ...from, image: 1, form: { ...FORM, step: 11 } },
    { ...from, image: 3 }
  ])
  expect([[...task.states.keys()], ended, task.stepsLeft]).toEqual([[0], ['ended', 'ended'], 10])
  keep([{ ...FORM, step: 7, used: { denoise_ms: 2000 } }], { denoise_ms: 2000 })
  expect(read().inFlight).toBe(2)
  expect(states.arrived(task, 0)).toMatchObject({ used: { denoise: 7 }, held: { denoise: 2 } })
  expect(read()).toMatchObject({ denoise: 2, lost: 0, inFlight: 0 })
})

it('drops images of other weights when a worker gives back more', () => {
  const { states, task, keep, ended } = make(100)
  const other = { kind: 'k', weights: { ...WEIGHTS, digest: 'e' } }
  states.begin(task, [
    { ...other, image: 1, form: FORM, frame: FRAME, used: DONE, memory: { release: () => undefined } }
  ])
  keep([FORM], undefined)
  expect([[...task.states.keys()], ended]).toEqual([[0], ['no_worker']])
})

it('enters all work once, whatever becomes of the images', () => {
  const step = fc.record({
    what: fc.constantFrom('keep', 'arrived', 'drop', 'cancelled', 'leave', 'stored', 'gone', 'begin'),
    image: fc.integer({ min: 0, max: 2 }),
    seconds: fc.integer({ min: 0, max: 9 })
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { states, task, keep, read, free } = make(20, 3)
      const left: ReturnType<typeof states.leave> = []
      let worked = 0
      for (const { what, image, seconds } of steps) {
        const used = { denoise_ms: seconds * 1000 }
        if (what === 'keep') worked += keep([{ ...FORM, image, used }], used).denoise
        else if (what === 'arrived') states.arrived(task, image)
        else if (what === 'drop') states.drop(task, 'crashed')
        else if (what === 'cancelled') states.drop(task, 'ended', true)
        else if (what === 'leave') left.push(...states.leave(task))
        else if (what === 'begin' && !task.states.has(image))
          states.begin(task, [
            { ...origin, image, form: FORM, frame: FRAME, used: DONE, memory: { release: () => undefined } }
          ])
        else left.pop()?.end(what === 'stored')
        expect(Object.values(read()).reduce((sum, each) => sum + each, 0)).toBeCloseTo(worked, 6)
      }
      states.drop(task, 'ended')
      for (const { end } of left) end(false)
      expect([free(), read().inFlight]).toEqual([20, 0])
    })
  )
})
