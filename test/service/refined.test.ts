import { describe, expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import type { GenerateRequest } from '../../src/schemas/generate.js'
import { checkEmbeddings, checkRefined } from '../../src/service/refined.js'

const hires = { width: 64, height: 64, strength: 0.7 }

function fieldOf(request: Partial<GenerateRequest>): string | undefined {
  try {
    checkRefined(request, { cache_interval: 1, ...request })
    return undefined
  } catch (error) {
    if (error instanceof EaselError) return error.field
    throw error
  }
}

describe('a request with denoising_end', () => {
  it('has nothing that the refiner could not show', () => {
    expect(fieldOf({ denoising_end: 0.8 })).toBeUndefined()
    expect(fieldOf({ denoising_end: 0.8, aesthetic_score: 7, image: 'a', strength: 0.6 })).toBeUndefined()
    expect(fieldOf({ denoising_end: 0.8, mask_image: 'a' })).toBe('mask_image')
    expect(fieldOf({ denoising_end: 0.8, hires })).toBe('hires')
    expect(fieldOf({ denoising_end: 0.8, cache_interval: 2 })).toBe('cache_interval')
    expect(fieldOf({ mask_image: 'a', hires, cache_interval: 2 })).toBeUndefined()
  })

  it('names no embeddings, of which the refiner has no vectors', () => {
    const ink = [{ name: 'ink' }]
    expect(() => checkEmbeddings({ denoising_end: 0.8 }, ink)).toThrow('the embedding ink cannot be combined')
    expect(() => checkEmbeddings({}, ink)).not.toThrow()
    expect(() => checkEmbeddings({ denoising_end: 0.8 }, undefined)).not.toThrow()
  })
})
