import { expect, it } from 'vitest'
import { imageSeconds, countedRows, rooflines, rowOf } from '../../bench/tpu/rows.mjs'

const counted = (total: number) => ({ total, compute: total / 2, temporary: 2 ** 20, moved: 1e9 })
const step = (name: string, seconds: number) => ({ name, artifact_bytes: 2 ** 21, counted: counted(seconds) })
const usual = rowOf('v5e-1x1', [
  step('encode', 1),
  step('denoise 1024x1024 guided x1', 0.1),
  step('decode 1024x1024', 0.05)
])

it('a result becomes a row, with what it holds', () => {
  expect(usual).toMatchObject({
    name: 'Easel, v5e:1x1',
    step: { ms: 100, fromMs: 50, temporaryMib: 1, movedGb: 1, programMib: 2, images: 1 },
    decode: { ms: 50 }
  })
  const eight = rowOf('v5e-2x4', [step('denoise 1024x1024 guided x8', 0.2)])
  expect(eight.step?.images).toBe(8)
  expect(eight.decode).toBeUndefined()
})

it('an image is its steps and a decode, which is that of one chip of the kind', () => {
  expect(imageSeconds(usual, [usual], 20)).toBeCloseTo(2.05)
  const int8 = rowOf('v5e-1x1-int8', [step('denoise 1024x1024 guided x1', 0.08)])
  expect(imageSeconds(int8, [usual, int8], 20)).toBeCloseTo(1.65)
  expect(imageSeconds(int8, [int8], 20)).toBeUndefined()
  const other = rowOf('v6e-2x2', [step('denoise 1024x1024 guided x4', 0.08)])
  expect(imageSeconds(other, [usual, other], 20)).toBeUndefined()
})

it('of three cached steps one is whole, the first', () => {
  const cached = rowOf('v5e-1x1-cached', [step('denoise 1024x1024 guided cached x1', 0.01)])
  expect(imageSeconds(cached, [usual, cached], 4)).toBeCloseTo(2 * 0.1 + 2 * 0.01 + 0.05)
})

it('a guided step of one v5e takes at least 68.6 ms', () => {
  expect(rooflines()[0]?.step?.ms).toBeCloseTo(68.64, 1)
})

it('the results in the tree are rows with names', () => {
  const rows = countedRows('bench/tpu/results')
  expect(rows.length).toBeGreaterThan(0)
  for (const row of rows) {
    expect(row.name).toMatch(/^(Easel|MaxDiffusion's UNet), v\de:\dx\d/)
    expect(row.step?.fromMs).toBeGreaterThan(0)
    expect(row.step?.fromMs).toBeLessThanOrEqual(row.step?.ms ?? 0)
  }
})
