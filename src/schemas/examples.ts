import { NEUTRAL } from '../parameters.js'
import type { GenerateResponse } from './answer.js'
import type { EstimateResponse } from './estimate.js'
import type { ControlInfo, IpAdapterInfo } from './controls.js'
import type { HealthResponse } from './health.js'
import type { JobDocument } from './job.js'
import type { EmbeddingInfo } from './embeddings.js'
import type { LoraInfo } from './loras.js'
import type { OpenAiImagesResponse } from './openai.js'
import type { TokenizeResponse } from './tokenize.js'

/** A PNG of one grey pixel. */
export const ONE_PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=='

const recipe = {
  prompt: 'a lighthouse on a cliff at dusk, oil painting',
  negative_prompt: '',
  seed: 7,
  num_inference_steps: 40,
  guidance_scale: 5,
  scheduler: 'euler',
  width: 1024,
  height: 1024,
  output_format: 'png'
} as const
const origin = { model: 'stable-diffusion-xl-base-1.0', model_digest: '2d1c4f6a', version: '0.1.0' }

const chipSeconds = { total: 3.131, encode: 0.009, denoise: 3.021, preview: 0, decode: 0.101 }

export const estimateExample: EstimateResponse = { chip_seconds: chipSeconds, wait_seconds: 1.5, seconds: 4.6 }

export const recipeExample = { recipe: { ...recipe, ...origin }, request: recipe, same_model: true }

export const generateExample: GenerateResponse = {
  id: 'c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e',
  images: [
    {
      index: 0,
      seed: 7,
      mime_type: 'image/png',
      width: 1024,
      height: 1024,
      data: ONE_PIXEL,
      recipe: { ...recipe, ...origin }
    }
  ],
  timings: { queue_ms: 12.1, encode_ms: 9.4, denoise_ms: 3020.5, decode_ms: 101.2, file_ms: 84, total_ms: 3231.9 },
  truncated: [],
  warnings: [],
  usage: { chunks: 1, tokens: { prompt: 11 }, chip_seconds: chipSeconds }
}

export const jobExample: JobDocument = {
  id: 'c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e',
  status: 'succeeded',
  seed: 7,
  submitted_at: '2026-01-31T09:00:00.000Z',
  started_at: '2026-01-31T09:00:01.000Z',
  ended_at: '2026-01-31T09:00:04.200Z',
  deadline: '2026-02-01T09:00:00.000Z',
  kept_until: '2026-02-01T09:00:04.200Z',
  crashes: 0,
  progress: null,
  links: {
    self: '/jobs/c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e',
    events: '/jobs/c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e/events'
  },
  result: {
    images: [
      {
        index: 0,
        seed: 7,
        mime_type: 'image/png',
        width: 1024,
        height: 1024,
        bytes: 1523177,
        sha256: '7d865e959b2466918c9863afca942d0fb89d7c9ac0c99bafc3749504ded97730',
        url: '/jobs/c5f1c2d8-1c9e-4f3c-9c0e-2a8d8a1f6b7e/images/0',
        recipe: { ...recipe, ...origin }
      }
    ],
    timings: generateExample.timings,
    truncated: [],
    warnings: [],
    usage: generateExample.usage
  },
  error: null
}

const offered = {
  model: { id: 'stable-diffusion-xl-base-1.0', digest: '2d1c4f6a', dtype: 'bfloat16', family: 'sdxl' },
  sizes: [[1024, 1024]],
  coming: [[1152, 896]],
  schedulers: ['euler', 'ddim'],
  presets: [
    {
      name: 'lightning-4',
      num_inference_steps: 4,
      guidance_scale: 0,
      scheduler: 'euler',
      timestep_spacing: 'trailing'
    }
  ],
  features: ['guidance_interval'],
  coming_features: ['prompt_weights'],
  defaults: {
    negative_prompt: '',
    num_inference_steps: 40,
    guidance_scale: 5,
    width: 1024,
    height: 1024,
    scheduler: 'euler',
    ...NEUTRAL
  },
  limits: { num_inference_steps: 100, guidance_scale: 50, num_images: 4, clip_skip: 11, cache_interval: 3 },
  max_chunks: 1,
  coming_max_chunks: 4,
  max_controls: 0
} satisfies Partial<HealthResponse>

export const healthExample: HealthResponse = {
  status: 'ready',
  problem: null,
  version: '0.1.0',
  uptime_seconds: 3600,
  ...offered,
  models: [
    {
      name: 'stable-diffusion-xl-base-1.0',
      status: 'ready',
      problem: null,
      ...offered,
      requests: { in_flight: 3, queued: 1, held: 0, limit: 64 },
      workers: { ready: 1 },
      loaded: true,
      swap_seconds: null
    }
  ],
  pictures: { formats: ['png', 'jpeg', 'webp'], max_bytes: 16_777_216, max_pixels: 16_777_216 },
  requests: { in_flight: 3, queued: 1, held: 0, limit: 64 },
  jobs: { store: 'memory', available: true, queued: 0, running: 1, ended: 12, limit: 10_000, batches: 0 },
  workers: {
    expected: 1,
    ready: 1,
    list: [
      {
        name: 'worker-0',
        model: 'stable-diffusion-xl-base-1.0',
        outdated: false,
        pid: 17,
        devices: ['TPU v5 lite'],
        rows: 4,
        rows_in_use: 4,
        steps_total: 51_234,
        silent_seconds: 0.2
      }
    ]
  }
}

export const tokenizeExample: TokenizeResponse = {
  prompt: { tokens: 3, chunks: 1, max_tokens: 300, chunk_starts: [0], cut_at: null },
  warnings: []
}

export const loraExample: LoraInfo = {
  name: 'styles/watercolour',
  digest: '0f6c8a54d8a5c0b1f2a3948576a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3',
  kind: 'lora',
  rank: 32,
  parts: ['unet', 'text_encoder', 'text_encoder_2'],
  trigger_words: ['watercolour painting'],
  base_model: 'stable-diffusion-xl-v1-base'
}

export const controlExample: ControlInfo = {
  name: 'canny',
  digest: '5f2a0c1b7d3e9f8a6c4b2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a',
  kind: 'controlnet'
}

export const ipAdapterExample: IpAdapterInfo = {
  name: 'plus',
  digest: '9c8b7a6f5e4d3c2b1a0f9e8d7c6b5a4f3e2d1c0b9a8f7e6d5c4b3a2f1e0d9c8b',
  tokens: 16
}

export const embeddingExample: EmbeddingInfo = {
  name: 'bad-hands',
  digest: '9b1e5c0d3f7a2846b5c4d3e2f10918273645a4b3c2d1e0f9f8e7d6c5b4a39281',
  vectors: 8
}

export const openAiExample: OpenAiImagesResponse = {
  created: 1_795_384_800,
  data: [{ b64_json: ONE_PIXEL }],
  background: 'opaque',
  output_format: 'png',
  size: '1024x1024',
  usage: {
    input_tokens: 12,
    output_tokens: 0,
    total_tokens: 12,
    input_tokens_details: { text_tokens: 12, image_tokens: 0 }
  }
}

/** Answers of /sdapi/v1. */
export const sdapiExamples = {
  images: {
    images: [ONE_PIXEL],
    parameters: { prompt: recipe.prompt, steps: 40 },
    info: JSON.stringify({ prompt: recipe.prompt, seed: 7, all_seeds: [7], width: 1024, height: 1024 })
  },
  pngInfo: {
    info: `${recipe.prompt}\nSteps: 40, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 1024x1024`,
    items: { easel: JSON.stringify({ ...recipe, ...origin }) },
    parameters: { Prompt: recipe.prompt, Steps: '40', Sampler: 'Euler', 'Size-1': '1024', 'Size-2': '1024' }
  },
  progress: {
    progress: 0.5,
    eta_relative: 1.5,
    state: {
      skipped: false,
      interrupted: false,
      stopping_generation: false,
      job: 'txt2img',
      job_count: 1,
      job_timestamp: '20261124120000',
      job_no: 0,
      sampling_step: 20,
      sampling_steps: 40
    },
    current_image: null,
    textinfo: null
  },
  options: {
    sd_model_checkpoint: 'stable-diffusion-xl-base-1.0',
    CLIP_stop_at_last_layers: 2,
    samples_format: 'png',
    jpeg_quality: 90,
    sd_vae: 'Automatic',
    emphasis: 'Original'
  },
  sampler: { name: 'DPM++ 2M', aliases: ['dpmpp_2m'], options: { scheduler: 'karras' } },
  scheduler: { name: 'karras', label: 'Karras', aliases: null, default_rho: 7, need_inner_model: false },
  latentMode: { name: 'Latent (bicubic)' },
  upscaler: { name: 'Bicubic', model_name: null, model_path: null, model_url: null, scale: null },
  model: {
    title: 'stable-diffusion-xl-base-1.0',
    model_name: 'stable-diffusion-xl-base-1.0',
    hash: '2d1c4f6a',
    sha256: null,
    filename: 'stable-diffusion-xl-base-1.0',
    config: null
  },
  embeddings: {
    loaded: {
      [embeddingExample.name]: { step: null, sd_checkpoint: null, sd_checkpoint_name: null, shape: 2048, vectors: 8 }
    },
    skipped: {}
  },
  lora: { name: loraExample.name, alias: loraExample.name, path: loraExample.name, metadata: { kind: 'lora' } }
} as const
