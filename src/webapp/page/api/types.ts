import type { Static } from 'typebox'
import type { GenerateResponse } from '../../../schemas/answer.js'
import type { RecipeResponse } from '../../../schemas/recipe.js'

export type { GenerateRequest } from '../../../schemas/generate.js'
export type { HealthResponse as Health } from '../../../schemas/health.js'

/** What is read from a picture. */
export type RecipeAnswer = Static<typeof RecipeResponse>

type ImageJson = GenerateResponse['images'][number]

/** Everything that decided a picture. */
export type Recipe = NonNullable<ImageJson['recipe']>

/** What is known of a picture: all of its recipe, or less from a server that keeps recipes to itself. */
export type Known = Pick<Recipe, 'prompt' | 'seed' | 'width' | 'height'> & Partial<Recipe>

export interface ErrorBody {
  statusCode: number
  code: string
  message: string
  field?: string
  requestId?: string
  /** seconds */
  retry_after?: number
}

/** What a generation says on its way. */
export type ServerEvent =
  | { type: 'queued'; position: number; estimate_seconds?: number | null }
  | { type: 'started' }
  | { type: 'progress'; image: number; step: number; of: number; eta_seconds?: number | null }
  | { type: 'preview'; image: number; step: number; mime_type: string; data: string }
  | ({ type: 'image' } & ImageJson)
  | ({ type: 'error' } & ErrorBody)
  | { type: 'done' }
