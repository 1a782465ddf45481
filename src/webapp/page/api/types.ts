import type { GenerateRequest as ServerRequest } from '../../../schemas/generate.js'
import type { HealthResponse } from '../../../schemas/health.js'

/** What the page asks for: the server's own schema. */
export type GenerateRequest = ServerRequest & {
  num_images?: number
  output_format?: 'png' | 'jpeg' | 'webp'
  quality?: number
  preview_interval?: number
}

export type Health = Pick<HealthResponse, 'status' | 'model' | 'sizes' | 'schedulers' | 'requests'> & {
  defaults?: Partial<Omit<GenerateRequest, 'prompt'>>
  limits?: { num_images?: number }
}

/** Everything that decided a picture. */
export interface Recipe {
  prompt: string
  negative_prompt: string
  seed: number
  num_inference_steps: number
  guidance_scale: number
  scheduler: string
  width: number
  height: number
  model: string
  [more: string]: unknown
}

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
  | { type: 'queued'; position: number; estimate_seconds?: number }
  | { type: 'started' }
  | { type: 'progress'; image: number; step: number; of: number; eta_seconds?: number }
  | { type: 'preview'; image: number; step: number; mime_type: string; data: string }
  | { type: 'image'; index: number; seed: number; mime_type: string; width: number; height: number; data: string; recipe: Recipe }
  | ({ type: 'error' } & ErrorBody)
  | { type: 'done' }
