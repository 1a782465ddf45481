import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { Parts } from '../../bench/lib/parts.mjs'
import { StepError } from '../../tools/run.mjs'

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(path, { recursive: true }))
  return path
}

it('a run that was aborted goes on with what it had not measured', async () => {
  const path = folder()
  const first = new Parts(path, { side: 1 }, 60)
  expect(await first.run('a', 'A', async () => ({ ms: 1 }))).toEqual({ ms: 1 })
  const second = new Parts(path, { side: 1 }, 60)
  expect(await second.run('a', 'A', () => Promise.reject(new Error('measured again')))).toEqual({ ms: 1 })
  expect(await second.run('b', 'B', async () => 2)).toBe(2)
  expect([...second.outcomes]).toEqual([
    ['a', { result: { ms: 1 } }],
    ['b', { result: 2 }]
  ])
})

it('a result of other values is measured again', async () => {
  const path = folder()
  await new Parts(path, { side: 1 }, 60).run('a', 'A', async () => 1)
  expect(await new Parts(path, { side: 2 }, 60).run('a', 'A', async () => 2)).toBe(2)
})

it('a part that fails is reported, measured again by the next run, and stops no other', async () => {
  const path = folder()
  const parts = new Parts(path, {}, 60)
  expect(await parts.run('a', 'A', () => Promise.reject(new StepError('no device')))).toBeUndefined()
  expect(await parts.run('b', 'B', async () => 2)).toBe(2)
  expect(parts.outcomes.get('a')).toEqual({ error: 'no device' })
  expect(await new Parts(path, {}, 60).run('a', 'A', async () => 1)).toBe(1)
})

it('begins nothing when the time is over', async () => {
  const parts = new Parts(folder(), {}, 0)
  expect(await parts.run('a', 'A', () => Promise.reject(new Error('begun')))).toBeUndefined()
  expect(parts.outcomes.get('a')).toEqual({ skipped: 'no time was left' })
})
