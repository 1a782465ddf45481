import { expect, it } from 'vitest'
import { seedOf } from '../../src/batches/batch.js'

it('a line has always the same seed, and another one than other lines and those of other batches', () => {
  const batch = { kind: 'batch', scope: 'alice', id: 'batch_1' } as const
  expect(seedOf(batch, 3)).toBe(seedOf({ ...batch }, 3))
  const all = [
    seedOf(batch, 3),
    seedOf(batch, 4),
    seedOf({ ...batch, scope: 'bob' }, 3),
    seedOf({ ...batch, id: 'b' }, 3)
  ]
  expect(new Set(all).size).toBe(4)
})
