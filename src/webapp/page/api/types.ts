import type { Static } from 'typebox'
import type { GenerateResponse } from '../../../schemas/answer.js'
import type { GenerateRequest } from '../../../schemas/generate.js'
import type { LoraInfo } from '../../../schemas/loras.js'
import type { TokenizeRequest, TokenizeResponse } from '../../../schemas/tokenize.js'
import type { RecipeResponse } from '../../../schemas/recipe.js'

export type { ControlPreviewRequest } from '../../../schemas/control-preview.js'
export type { GenerateRequest }
export type { HealthResponse as Health } from '../../../schemas/health.js'

/** The files of a request for images, by the names of their fields. */
export interface Files {
  readonly image?: Blob
  readonly mask_image?: Blob
  /** One for each entry of `controls`, and of `ip_adapters`. */
  readonly control_image?: readonly Blob[]
  readonly ip_adapter_image?: readonly Blob[]
}

/** The fields of POST /tokenize, and its answer. */
export type Prompts = TokenizeRequest
export type PromptCounts = TokenizeResponse

/** A LoRA that requests may name. */
export type Lora = LoraInfo

/** The answer to POST /recipe. */
export type RecipeAnswer = Static<typeof RecipeResponse>

type ImageJson = GenerateResponse['images'][number]

/** Everything that determines a picture. */
export type Recipe = NonNullable<ImageJson['recipe']>

/** What the page knows of a picture: its whole recipe, or less if the server does not send recipes. */
export type Known = Pick<Recipe, 'prompt' | 'seed' | 'width' | 'height'> &
  Partial<Omit<Recipe, 'loras' | 'embeddings' | 'controls' | 'ip_adapters'>> &
  Pick<GenerateRequest, 'loras' | 'embeddings' | 'controls' | 'ip_adapters'>

export interface ErrorBody {
  statusCode: number
  code: string
  message: string
  field?: string
  requestId?: string
  /** seconds */
  retry_after?: number
}

/** An event of a generation. */
export type ServerEvent =
  | { type: 'queued'; position: number; estimate_seconds?: number | null }
  | { type: 'started' }
  | { type: 'progress'; image: number; step: number; of: number; eta_seconds?: number | null }
  | { type: 'preview'; image: number; step: number; mime_type: string; data: string }
  | ({ type: 'image' } & ImageJson)
  | ({ type: 'error' } & ErrorBody)
  | { type: 'done' }
