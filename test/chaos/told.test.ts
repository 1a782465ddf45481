import { expect, it } from 'vitest'
import { type Told, wrongWith } from './told.mjs'

const AT = 1_769_850_004_200
const end = { status: 'succeeded', endedAt: AT }
const job = { name: 'job-1', taken: new Set(['m']), anew: false }

function told(changes: Partial<Told> = {}, status = 'succeeded', endedAt = AT): Told {
  const data = { id: 'job-1', status, ended_at: new Date(endedAt).toISOString() }
  return { id: 'm', job: 'job-1', type: `job.${status}`, data, ...changes }
}

it('an end may be told more than once, under one id', () => {
  expect(wrongWith([told()], end, job)).toEqual([])
  expect(wrongWith([told(), told()], end, job)).toEqual([])
  expect(wrongWith([], undefined, job)).toEqual([])
  expect(wrongWith([told(), told({ id: 'first' }, 'cancelled', 1)], end, { ...job, anew: true })).toEqual([])
})

it.each<[string, readonly Told[], RegExp, object?]>([
  ['told nothing', [], /under 0 ids/],
  ['told under two ids', [told(), told({ id: 'n' })], /under 2 ids/],
  ['told another end', [told(), told({ id: 'n' }, 'cancelled')], /1 ends that it does not have/],
  ['told the end of another time', [told({}, 'succeeded', AT + 1)], /1 ends that it does not have/],
  ['told differently', [told(), told({}, 'succeeded', AT + 1)], /differently under one id/],
  ['told another type', [told({ type: 'job.failed' })], /told job.failed of job-1, succeeded/],
  ['told of another job', [told({ data: { ...told().data, id: 'job-2' } })], /of job-2/],
  ['never taken', [told()], /not taken/, { taken: new Set() }],
  ['told of two others', [told(), told({ id: 'a' }, 'failed'), told({ id: 'b' }, 'failed')], /2 ends/, { anew: true }]
])('finds a job that is %s', (_, all, message, changes = {}) => {
  expect(wrongWith(all, end, { ...job, ...changes }).join('\n')).toMatch(message)
})

it('finds a job that has no webhook and is told', () => {
  expect(wrongWith([told()], undefined, job)).toEqual(['job-1 was told, and has no webhook'])
})
