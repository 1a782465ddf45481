import { EaselError } from '../errors.js'
import type { ParameterName } from '../parameters.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Decided } from './decisions.js'

/**
 * Checks what a request says beside its refiner. Embeddings are checked once the prompts are read, see
 * `checkEmbeddings`.
 *
 * @throws EaselError 400 with the wrong field
 */
export function checkRefined(
  request: Pick<GenerateRequest, 'mask_image'>,
  decided: Pick<Decided, 'denoising_end' | 'cache_interval' | 'hires'>
): void {
  if (decided.denoising_end === undefined) return
  if (request.mask_image !== undefined)
    throw invalid('mask_image', 'must be left out with denoising_end: the refiner would repaint what the mask keeps')
  if (decided.hires !== undefined)
    throw invalid('hires', 'must be left out with denoising_end: send the image as image for a second pass')
  if (decided.cache_interval > 1)
    throw invalid('cache_interval', `must be 1 with denoising_end, not ${decided.cache_interval}`)
}

/** @throws EaselError 400 if the prompts of a refined image name embeddings, whose vectors the refiner does not have */
export function checkEmbeddings(
  decided: Pick<Decided, 'denoising_end'>,
  embeddings: readonly { readonly name: string }[] | undefined
): void {
  const [first] = embeddings ?? []
  if (first === undefined || decided.denoising_end === undefined) return
  throw new EaselError(
    'INVALID_REQUEST',
    `the embedding ${first.name} cannot be combined with denoising_end: the refiner has no vectors for it. Take its name out of the prompts, or leave it out of embeddings to read it as text`,
    { field: 'embeddings' }
  )
}

function invalid(field: ParameterName, message: string): EaselError {
  return new EaselError('INVALID_REQUEST', `${field} ${message}`, { field })
}
