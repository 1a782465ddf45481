import { EaselError } from '../errors.js'
import type { GenerateRequest } from '../schemas/generate.js'
import type { Share } from '../workers/fair-queue.js'
import type { Caller } from './caller.js'

/**
 * Whose a request is, and its class.
 *
 * @throws EaselError INVALID_REQUEST if the caller may send batch requests only and asks for another class
 */
export function shareOf(
  { priority }: Pick<GenerateRequest, 'priority'>,
  { scope, weight = 1, batchOnly = false }: Pick<Caller, 'scope' | 'weight' | 'batchOnly'>
): Share {
  if (batchOnly && priority === 'interactive')
    throw new EaselError(
      'INVALID_REQUEST',
      `priority must be batch or left out: the key ${scope} is for batch requests only`,
      { field: 'priority' }
    )
  return { key: scope, weight, priority: batchOnly ? 'batch' : (priority ?? 'interactive') }
}
