import { Type, type TSchema } from 'typebox'

/** A field of AUTOMATIC1111's API for something that Easel does not do. */
export interface FixedField {
  readonly schema: TSchema
  /** Its values without effect, besides null; the first is named in errors. */
  readonly neutral: readonly unknown[]
  /** Why it must have one of them; part of the error. */
  readonly unable: string
}

const flag = { type: ['boolean', 'null'] }
const number = { type: ['number', 'null'] }
const text = { type: ['string', 'null'] }
const list = { type: ['array', 'null'] }

/** The fields of a request that decide nothing here. */
export interface Unpainted {
  /** Fields that must be neutral. */
  readonly fixed: Readonly<Record<string, FixedField>>
  /** Fields that may have any value, and why. */
  readonly ignored: Readonly<Record<string, string>>
}

/** Names and neutral values are those of the web UI's API. */
const FIXED: Readonly<Record<string, FixedField>> = {
  firstpass_image: {
    schema: text,
    neutral: [''],
    unable: 'Easel makes the first pass itself; img2img changes a picture'
  },
  restore_faces: { schema: flag, neutral: [false], unable: 'Easel restores no faces' },
  tiling: { schema: flag, neutral: [false], unable: 'Easel makes no tiles' },
  styles: { schema: list, neutral: [[]], unable: 'Easel keeps no styles; write their text into the prompt' },
  subseed_strength: { schema: number, neutral: [0], unable: 'Easel mixes no seeds' },
  seed_resize_from_w: { schema: number, neutral: [-1, 0], unable: 'Easel does not resize noise' },
  seed_resize_from_h: { schema: number, neutral: [-1, 0], unable: 'Easel does not resize noise' },
  s_churn: { schema: number, neutral: [0], unable: 'no sampler here adds noise beyond its own' },
  s_noise: { schema: number, neutral: [1], unable: 'the samplers have their own noise' },
  s_min_uncond: {
    schema: number,
    neutral: [0],
    unable: 'the negative prompt counts in every step; guidance_end of POST /generate ends guidance early'
  },
  disable_extra_networks: {
    schema: flag,
    neutral: [false],
    unable: 'Easel would read the tags of LoRAs as text; remove them from the prompt'
  },
  script_name: { schema: text, neutral: ['', 'None'], unable: 'Easel has no scripts' },
  infotext: { schema: text, neutral: [''], unable: 'Easel reads the settings from the fields' },
  send_images: { schema: flag, neutral: [true], unable: 'Easel stores no images, so the answer is their only copy' }
}

/** Fields of the web UI's API, or of clients of it. */
const IGNORED: Readonly<Record<string, string>> = {
  save_images: 'The server stores no images, whatever it says.',
  do_not_save_samples: 'The server stores no images, whatever it says.',
  do_not_save_grid: 'The server stores no images, whatever it says.',
  override_settings_restore_afterwards: 'Settings of a request are always for that request alone.',
  subseed: 'Used with subseed_strength only.',
  s_tmin: 'Used with s_churn only.',
  s_tmax: 'Used with s_churn only.',
  script_args: 'Used with script_name only.',
  comments: 'Notes of the web UI.',
  url: 'SillyTavern sends its own address of the server.',
  auth: 'SillyTavern sends its own credentials for the server.'
}

export const TXT2IMG: Unpainted = { fixed: FIXED, ignored: IGNORED }

const SAME = 'both passes have one'

/** Fields of txt2img that must be neutral with enable_hr, and otherwise decide nothing. */
export const WITH_HIRES: Unpainted['fixed'] = {
  firstphase_width: { schema: number, neutral: [0], unable: 'width is the size of the first pass' },
  firstphase_height: { schema: number, neutral: [0], unable: 'height is the size of the first pass' },
  hr_checkpoint_name: { schema: text, neutral: ['', 'Use same checkpoint'], unable: `${SAME} model` },
  hr_sampler_name: { schema: text, neutral: ['', 'Use same sampler'], unable: `${SAME} sampler` },
  hr_scheduler: { schema: text, neutral: ['', 'Use same scheduler'], unable: `${SAME} schedule` },
  hr_prompt: { schema: text, neutral: [''], unable: `${SAME} prompt` },
  hr_negative_prompt: { schema: text, neutral: [''], unable: `${SAME} negative prompt` }
}

/** Fields of the second pass that are not in `WITH_HIRES`, besides `denoising_strength`. */
const HIRES = ['hr_scale', 'hr_upscaler', 'hr_second_pass_steps', 'hr_resize_x', 'hr_resize_y']

/** Fields of img2img that must be neutral if it has a mask, and otherwise decide nothing. */
export const WITH_MASK: Unpainted['fixed'] = {
  mask_blur: { schema: number, neutral: [0], unable: 'Easel does not blur masks' },
  mask_blur_x: { schema: number, neutral: [0], unable: 'Easel does not blur masks' },
  mask_blur_y: { schema: number, neutral: [0], unable: 'Easel does not blur masks' },
  mask_round: { schema: flag, neutral: [true], unable: 'a pixel of a mask is repainted or not' },
  inpainting_fill: {
    schema: number,
    neutral: [1],
    unable: 'what is under the mask starts from the picture itself ("original")'
  }
}

export const IMG2IMG: Unpainted = {
  fixed: {
    ...FIXED,
    enable_hr: { schema: flag, neutral: [false], unable: 'only txt2img makes a second pass' },
    include_init_images: { schema: flag, neutral: [false], unable: 'the answer does not repeat pictures' },
    initial_noise_multiplier: { schema: number, neutral: [1], unable: 'Easel does not scale noise' },
    latent_mask: { schema: text, neutral: [''], unable: 'Easel takes masks as pictures, in the field mask' }
  },
  ignored: {
    ...IGNORED,
    ...Object.fromEntries([...HIRES, ...Object.keys(WITH_HIRES)].map((name) => [name, 'Used with enable_hr only.'])),
    image_cfg_scale: 'Used by models that edit by instruction only.'
  }
}

/** The properties of these fields for a request's schema. */
export function unpaintedProperties({ fixed, ignored }: Unpainted) {
  return {
    ...Object.fromEntries(
      Object.entries(fixed).map(([name, { schema, neutral, unable }]) => [
        name,
        Type.Optional(Type.Unsafe<unknown>({ ...schema, description: `Must be ${wordsFor(neutral)}: ${unable}.` }))
      ])
    ),
    ...Object.fromEntries(
      Object.entries(ignored).map(([name, description]) => [name, Type.Optional(Type.Unsafe<unknown>({ description }))])
    )
  }
}

/** The first neutral value, as an error or a description says it. */
export function wordsFor([first]: FixedField['neutral']): string {
  return first === '' ? 'empty' : Array.isArray(first) ? 'an empty list' : isObject(first) ? 'empty' : String(first)
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}
