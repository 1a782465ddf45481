import { CLIP_SKIP_OFFSET, promptsText, settingsText, shortDigest } from '../../image/parameters.js'
import type { Recipe } from '../../image/recipe.js'
import { samplerOf } from '../../image/samplers.js'
import type { SdapiImagesRequest } from '../../schemas/sdapi.js'
import type { Finished } from '../../service/run.js'
import { joined, type Piece } from '../answers/body.js'
import type { Kind } from './kinds.js'
import { stampOf } from './stamp.js'

/** Fields of a request that its answer does not repeat: secrets, pictures, and what may be nested too deep to write. */
const LEFT_OUT: ReadonlySet<string> = new Set(['url', 'auth', 'init_images', 'mask', 'alwayson_scripts'])
const PROMPTS: ReadonlySet<string> = new Set(['prompt', 'negative_prompt'])

export interface AnswerOptions {
  readonly kind: Kind
  /** The images of a batch, of which the request may ask for several. */
  readonly batchSize: number
  /** Whether the answer has the prompts. */
  readonly withPrompts: boolean
  readonly now: Date
}

/** The finished request as an `SdapiImagesResponse`. */
export function imagesAnswer(request: SdapiImagesRequest, { images }: Finished, options: AnswerOptions): Piece[] {
  return [
    '{"images":[',
    ...joined(
      images.map(({ bytes }): Piece[] => ['"', { base64: bytes }, '"']),
      ','
    ),
    `],"parameters":${JSON.stringify(repeated(request, options))},"info":"`,
    ...quoted(
      infoOf(
        images.map(({ recipe }) => recipe),
        options
      )
    ),
    '"}'
  ]
}

/**
 * The fields of the request that this API knows. Leaves out lists and objects that decide nothing, because they may be
 * nested too deep to write.
 */
function repeated(request: SdapiImagesRequest, { kind, withPrompts }: AnswerOptions): object {
  const known = Object.entries(request).filter(
    ([name, value]) =>
      Object.hasOwn(kind.properties, name) &&
      !LEFT_OUT.has(name) &&
      (withPrompts || !PROMPTS.has(name)) &&
      !(Object.hasOwn(kind.ignored, name) && typeof value === 'object')
  )
  return Object.fromEntries(known)
}

/**
 * The JSON text of `info`, in pieces. The images have the same prompts, so their pieces are the same string: an answer
 * with many images holds a long prompt once.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/processing.py
 */
function infoOf(recipes: readonly Recipe[], { batchSize, withPrompts, now }: AnswerOptions): string[] {
  const first = recipes[0]!
  const shown = withPrompts ? first : { ...first, prompt: '', negative_prompt: '' }
  const prompt = JSON.stringify(shown.prompt)
  const negative = JSON.stringify(shown.negative_prompt)
  const head = JSON.stringify(`${promptsText(shown)}\n`).slice(1, -1)
  const seeds = recipes.map(({ seed }) => seed)
  const rest = {
    seed: first.seed,
    all_seeds: seeds,
    subseed: -1,
    all_subseeds: seeds.map(() => -1),
    subseed_strength: 0,
    width: first.width,
    height: first.height,
    sampler_name: samplerOf(first.scheduler).sampler,
    cfg_scale: first.guidance_scale,
    steps: first.num_inference_steps,
    batch_size: batchSize,
    restore_faces: false,
    face_restoration_model: null,
    sd_model_name: first.model,
    sd_model_hash: shortDigest(first.model_digest),
    sd_vae_name: null,
    sd_vae_hash: null,
    seed_resize_from_w: -1,
    seed_resize_from_h: -1,
    denoising_strength: first.strength ?? first.hires?.strength ?? null,
    extra_generation_params: {},
    index_of_first_image: 0,
    styles: [],
    job_timestamp: stampOf(now),
    clip_skip: (first.clip_skip ?? 0) + CLIP_SKIP_OFFSET,
    is_using_inpainting_conditioning: false,
    version: `easel ${first.version}`
  }
  return [
    '{"prompt":',
    prompt,
    ',"all_prompts":',
    ...listOf(recipes.map(() => [prompt])),
    ',"negative_prompt":',
    negative,
    ',"all_negative_prompts":',
    ...listOf(recipes.map(() => [negative])),
    ',"infotexts":',
    ...listOf(recipes.map((recipe) => ['"', head, JSON.stringify(settingsText(recipe)).slice(1)])),
    ',',
    JSON.stringify(rest).slice(1)
  ]
}

function listOf(items: readonly (readonly string[])[]): string[] {
  return ['[', ...items.flatMap((item, index) => (index === 0 ? item : [',', ...item])), ']']
}

/** Pieces of JSON as they are inside a string of JSON. Equal pieces stay one string. */
function quoted(pieces: readonly string[]): string[] {
  const known = new Map<string, string>()
  return pieces.map((piece) => {
    const inside = known.get(piece) ?? JSON.stringify(piece).slice(1, -1)
    known.set(piece, inside)
    return inside
  })
}
