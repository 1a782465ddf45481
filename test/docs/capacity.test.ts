import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { tables } from '../../scripts/capacity.mjs'
import { chipsFor, meanWait, secondsPerImage } from '../../scripts/lib/capacity.mjs'
import { packageRoot } from '../../src/gateway-options.js'

describe('docs/capacity.md', () => {
  const page = readFileSync(join(packageRoot, 'docs/capacity.md'), 'utf8')

  it.each(Object.entries(tables()))('has the table of %s that the script computes', (_, lines) => {
    expect(page).toContain(lines)
  })
})

describe('the computation', () => {
  it("is the roofline: work over the chip's peak", () => {
    // 40 forwards of 6.761, two prompts of 0.111, one decoding of 10.47: 281.1 TFLOP.
    expect(secondsPerImage({ steps: 20 })).toBeCloseTo(281.132 / 197, 6)
    expect(secondsPerImage({ steps: 20, guided: false })).toBeCloseTo((135.22 + 0.111 + 10.47) / 197, 6)
    expect(secondsPerImage({ steps: 20, efficiency: 0.5 })).toBeCloseTo(2 * secondsPerImage({ steps: 20 }), 9)
    expect(() => secondsPerImage({ steps: 1, size: 640 })).toThrow('1024, 768, 512')
  })

  it('gives one server the wait that is known for it', () => {
    // Pollaczek and Khinchine, for times that are all equal: u / (2 (1 - u)).
    for (const utilization of [0.3, 0.7, 0.9])
      expect(meanWait(utilization, 1)).toBeCloseTo(utilization / (2 * (1 - utilization)), 9)
    expect(meanWait(0.7, 2)).toBeLessThan(meanWait(0.7, 1) / 2)
  })

  it('rounds chips up, and adds the spare ones', () => {
    expect(chipsFor({ imagesPerSecond: 1, seconds: 0.7 })).toBe(1)
    expect(chipsFor({ imagesPerSecond: 1, seconds: 0.71, spare: 2 })).toBe(4)
  })
})
