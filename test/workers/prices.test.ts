import { expect, it } from 'vitest'
import type { Job } from '../../src/workers/job.js'
import { PriceList } from '../../src/workers/prices.js'

const JOB = { prompt: { ids: [1], ids_2: [1] }, seeds: [1], steps: 4, guidance: 1, width: 64, height: 64 } as Job
const EXTENT = { embedded: false, evaluations: 1 }
const USED = { encode: 1, denoise: 8, preview: 0, decode: 3 }

it('a pass that gives latents decodes nothing, and one that begins from them has its own price of the beginning', () => {
  const prices = new PriceList()
  prices.learn(JOB, EXTENT, USED)
  expect(prices.estimate({ ...JOB, output_type: 'latent' }, EXTENT)).toEqual({ ...USED, decode: 0 })
  const picture = { role: 'image', width: 64, height: 64, channels: 3 } as const
  const latents = { role: 'latents', width: 8, height: 8, channels: 16 } as const
  prices.learn({ ...JOB, pictures: [picture] }, EXTENT, { ...USED, encode: 5 })
  prices.learn({ ...JOB, latents_upscaler: 'latent', pictures: [latents] }, EXTENT, { ...USED, encode: 2 })
  expect(prices.estimate({ ...JOB, pictures: [picture] }, EXTENT)!.encode).toBe(5)
  expect(prices.estimate({ ...JOB, latents_upscaler: 'latent', pictures: [latents] }, EXTENT)!.encode).toBe(2)
})
