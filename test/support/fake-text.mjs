// @ts-check
import { createHash } from 'node:crypto'

/**
 * @typedef {object} Ids
 * @property {readonly number[]} ids
 * @property {readonly number[]} ids_2
 * @property {readonly number[]} [weights]
 * @property {readonly number[]} [weights_2]
 * @property {readonly (readonly [number, number])[]} [masked]
 * @property {readonly (readonly [number, number])[]} [masked_2]
 * @property {readonly number[]} [pooled_ids_2]
 *
 * @typedef {object} FakeJob
 * @property {Ids} prompt
 * @property {Ids | null} negative
 * @property {number} seed
 * @property {number} steps
 * @property {number} guidance
 * @property {string} scheduler
 * @property {number} width
 * @property {number} height
 * @property {number} [clip_skip]
 * @property {number} [guidance_start]
 * @property {number} [guidance_end]
 * @property {number} [cache_interval]
 * @property {number} [cache_order]
 * @property {'a1111' | 'compel'} [weighting]
 * @property {Ids} [empty]
 * @property {'leading' | 'trailing' | 'linspace'} [timestep_spacing]
 * @property {readonly number[]} [timesteps]
 * @property {readonly number[]} [sigmas]
 * @property {number} [eta]
 * @property {number} [guidance_rescale]
 * @property {number} [aesthetic_score]
 * @property {number} [negative_aesthetic_score]
 * @property {number} [denoising_end]
 * @property {readonly [number, number]} [original_size]
 * @property {readonly [number, number]} [crops_coords_top_left]
 * @property {readonly [number, number]} [target_size]
 * @property {readonly [number, number]} [negative_original_size]
 * @property {readonly [number, number]} [negative_crops_coords_top_left]
 * @property {readonly [number, number]} [negative_target_size]
 * @property {readonly { name: string, digest: string, unet_weight: number, text_weight: number }[]} [loras]
 * @property {readonly { name: string, digest: string, first_id: number }[]} [embeddings]
 * @property {boolean} [pooled_at_end]
 * @property {number} [schedule_steps]
 * @property {'latent'} [output_type]
 * @property {string} [latents_upscaler]
 * @property {readonly { name: string, digest: string, scale: number, start?: number, end?: number }[]} [controls]
 * @property {readonly { name: string, digest: string, scale: number }[]} [ip_adapters]
 * @property {readonly { role: string, pixels: Uint8Array }[]} [pictures] in the order of the wire
 */

/**
 * Returns the text that describes a job completely, as easel_worker/fake/image.py defines it.
 *
 * @param {FakeJob} job
 */
export function canonicalText({
  prompt,
  negative,
  seed,
  steps,
  guidance,
  scheduler,
  width,
  height,
  clip_skip = 0,
  guidance_start = 0,
  guidance_end = 1,
  cache_interval = 1,
  cache_order = 0,
  weighting,
  empty,
  timestep_spacing,
  timesteps,
  sigmas,
  eta = 0,
  loras,
  embeddings,
  pooled_at_end = false,
  schedule_steps = steps,
  output_type,
  latents_upscaler,
  controls = [],
  ip_adapters = [],
  pictures = [],
  aesthetic_score = 6,
  negative_aesthetic_score = 2.5,
  denoising_end,
  ...conditions
}) {
  const lists = negative === null ? ['-', '-'] : [negative.ids.join(','), negative.ids_2.join(',')]
  const savings = [thousandths(guidance_start), thousandths(guidance_end), cache_interval]
  const named = savings.join() === '0,1000,1' && weighting === undefined ? [] : savings
  const weighted = weighting === undefined ? [] : [weightingText(weighting, [prompt, negative], empty)]
  return [
    prompt.ids.join(','),
    prompt.ids_2.join(','),
    ...lists,
    seed,
    steps,
    thousandths(guidance),
    scheduler,
    width,
    height,
    clip_skip,
    ...named,
    ...weighted,
    ...(timestep_spacing === undefined && timesteps === undefined && sigmas === undefined && eta === 0
      ? []
      : [
          [
            'schedule',
            timestep_spacing ?? '-',
            timesteps?.join(',') ?? '-',
            sigmas?.map(thousandths).join(',') ?? '-',
            thousandths(eta)
          ].join(';')
        ]),
    ...conditionsText(conditions),
    ...(cache_order === 0 ? [] : [`cache_order=${cache_order}`]),
    ...scoresText([aesthetic_score, negative_aesthetic_score]),
    ...(denoising_end === undefined ? [] : [`denoising_end=${thousandths(denoising_end)}`]),
    ...lorasText(loras),
    ...embeddingsText(embeddings, pooled_at_end),
    ...(schedule_steps === steps ? [] : [`schedule_steps=${schedule_steps}`]),
    ...usesText(
      'controls',
      controls.map(({ start = 0, end = 1, ...use }) => [use, [use.scale, start, end]])
    ),
    ...usesText(
      'ip_adapters',
      ip_adapters.map((use) => [use, [use.scale]])
    ),
    ...(output_type === undefined ? [] : [`output_type=${output_type}`]),
    ...(latents_upscaler === undefined ? [] : [`latents_upscaler=${latents_upscaler}`]),
    ...picturesText(pictures)
  ].join('|')
}

/**
 * @param {string} field
 * @param {readonly (readonly [{ name: string, digest: string }, readonly number[]])[]} uses
 */
function usesText(field, uses) {
  const parts = uses.map(([{ name, digest }, numbers]) => [name, digest, ...numbers.map(thousandths)].join())
  return parts.length === 0 ? [] : [`${field}=${parts.join(';')}`]
}

/** @param {readonly { role: string, pixels: Uint8Array }[]} pictures */
function picturesText(pictures) {
  const parts = pictures.map(({ role, pixels }) => `${role}:${createHash('sha256').update(pixels).digest('hex')}`)
  return parts.length === 0 ? [] : [`pictures=${parts.join(';')}`]
}

/**
 * @param {Pick<FakeJob, 'guidance_rescale' | 'original_size' | 'crops_coords_top_left' | 'target_size' | 'negative_original_size' | 'negative_crops_coords_top_left' | 'negative_target_size'>} conditions
 */
function conditionsText({ guidance_rescale = 0, ...pairs }) {
  const text = [
    thousandths(guidance_rescale),
    pairs.original_size,
    pairs.crops_coords_top_left ?? [0, 0],
    pairs.target_size,
    pairs.negative_original_size,
    pairs.negative_crops_coords_top_left ?? [0, 0],
    pairs.negative_target_size
  ]
    .map((part) => part?.toString() ?? '-')
    .join(';')
  return text === '0;-;0,0;-;-;0,0;-' ? [] : [`conditions=${text}`]
}

/** @param {readonly [number, number]} scores */
function scoresText(scores) {
  const text = scores.map(thousandths).join(';')
  return text === '6000;2500' ? [] : [`scores=${text}`]
}

/** @param {FakeJob['loras']} loras */
function lorasText(loras) {
  if (loras === undefined) return []
  const parts = loras
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, digest, unet_weight, text_weight }) =>
      [name, digest, thousandths(unet_weight), thousandths(text_weight)].join()
    )
  return [`loras=${parts.join(';')}`]
}

/**
 * @param {FakeJob['embeddings']} embeddings
 * @param {boolean} atEnd
 */
function embeddingsText(embeddings, atEnd) {
  if (embeddings === undefined) return []
  const parts = embeddings
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, digest, first_id }) => [name, digest, first_id].join())
  return [`embeddings=${parts.join(';')}`, ...(atEnd ? ['pooled_at_end'] : [])]
}

/**
 * @param {string} weighting
 * @param {readonly (Ids | null)[]} prompts
 * @param {Ids | undefined} empty
 */
function weightingText(weighting, prompts, empty) {
  const parts = prompts.flatMap((prompt) => [
    prompt?.weights?.map(thousandths),
    prompt?.weights_2?.map(thousandths),
    prompt?.masked?.map((span) => span.join('-')),
    prompt?.masked_2?.map((span) => span.join('-')),
    prompt?.pooled_ids_2
  ])
  return [weighting, ...[...parts, empty?.ids, empty?.ids_2].map((list) => list?.join(',') ?? '-')].join(';')
}

/** @param {number} value */
function thousandths(value) {
  return Math.floor(value * 1000 + 0.5)
}

/**
 * Returns the first 32 bytes of a fake picture, which identify its job and its weights.
 *
 * @param {FakeJob} job
 * @param {string} [weights] the worker's --fake-weights
 */
export function jobDigest(job, weights = '') {
  const named = weights === '' ? '' : `|weights=${weights}`
  return createHash('sha256')
    .update(`${canonicalText(job)}${named}`)
    .digest()
}

/**
 * The picture of a job, RGB, as easel_worker/fake/image.py defines it.
 *
 * @param {FakeJob} job
 * @param {string} [weights] the worker's --fake-weights
 */
export function fakePixels(job, weights = '') {
  const { width, height } = job
  const d = jobDigest(job, weights)
  const at = (/** @type {number} */ index) => /** @type {number} */ (d[index])
  const pixels = Buffer.alloc(width * height * 3)
  for (let y = 0; y < height; y++) {
    const row = (y * y * (at(2) | 1) + 257 * at(3) + 1) % 65536
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) {
        const i = 3 * x + c
        const column = (i * i * (at(0) | 1) + 257 * at(1)) % 65536
        const noise = ((column * row) % 65536) >> 13
        pixels[(y * width + x) * 3 + c] =
          (at(4 + c) + ((x * (1 + (at(7 + c) % 4))) >> 2) + ((y * (1 + (at(10) % 4))) >> 2) + noise) & 255
      }
    }
  }
  d.copy(pixels, 0)
  return pixels
}

/**
 * The latents of a job with an output_type, as easel_worker/fake/image.py defines them.
 *
 * @param {FakeJob} job
 * @param {string} [weights] the worker's --fake-weights
 */
export function fakeLatents(job, weights = '') {
  const { width, height } = job
  return Buffer.alloc(Math.floor(width / 8) * Math.floor(height / 8) * 16, jobDigest(job, weights))
}
