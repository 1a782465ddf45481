import { Type, type Static } from 'typebox'
import { parameters } from '../parameters.js'
import { FORMATS } from '../image/formats.js'
import { ONE_PIXEL } from './examples.js'
import { maybe, oneOf } from './maybe.js'
import { SdapiScripts } from './sdapi-controlnet.js'
import { IMG2IMG, TXT2IMG, unpaintedProperties, WITH_HIRES, WITH_MASK } from './sdapi-fields.js'

const { prompt, negative_prompt, num_inference_steps, guidance_scale, width, height, seed, eta, num_images } =
  parameters
const { strength, padding_mask_crop } = parameters

const count = (description: string) => maybe({ ...num_images.schema, description })

/** Most layers from the end that `CLIP_stop_at_last_layers` can name; a model's own limit is lower. */
const MAX_LAYERS = 100

/** The settings of the web UI that a request may set for itself. */
export const SdapiOptions = Type.Object(
  {
    sd_model_checkpoint: maybe(
      Type.String({
        maxLength: 256,
        description: "Which of the server's models to use: a `title` of GET /sdapi/v1/sd-models. Default: the first."
      })
    ),
    CLIP_stop_at_last_layers: maybe(
      Type.Integer({
        minimum: 1,
        maximum: MAX_LAYERS,
        description:
          "The web UI's Clip skip. 1 and 2 both take the last layer but one of SDXL's text encoders, and larger values skip more."
      })
    ),
    samples_format: maybe(oneOf([...FORMATS, 'jpg'], 'Format of the files; jpg means jpeg. Default: png.')),
    jpeg_quality: maybe({ ...parameters.quality.schema, description: 'Quality of jpg and webp.' }),
    sd_vae: maybe(Type.String({ description: 'Must be Automatic or None: the VAE belongs to the model.' })),
    emphasis: maybe(Type.String({ description: 'Must be Original.' }))
  },
  { $id: 'SdapiOptions' }
)
export type SdapiOptions = Static<typeof SdapiOptions>

/** The fields that requests for images have in common. */
const SdapiImagesRequest = Type.Object({
  prompt: { ...prompt.schema, description: 'What the image shows, in the syntax `a1111`: weights, BREAK and LoRAs.' },
  negative_prompt: maybe({
    ...negative_prompt.schema,
    description: 'What the image should not show, in the same syntax.'
  }),
  steps: maybe({ ...num_inference_steps.schema, description: "Sampling steps. Default: the server's." }),
  cfg_scale: maybe({
    ...guidance_scale.schema,
    description: "Guidance scale; 1 or less turns guidance off. Default: the server's."
  }),
  width: maybe({ ...width.schema, description: 'Width in pixels. Only compiled sizes are offered.' }),
  height: maybe(height.schema),
  seed: maybe({
    ...seed.openai,
    description: 'Seed of the first image; the next ones have the next numbers. -1, the default, is a random one.'
  }),
  sampler_name: maybe(
    Type.String({
      maxLength: 64,
      description:
        "The web UI's name of a sampler, for example `DPM++ 2M`; GET /sdapi/v1/samplers lists all. Default: the server's."
    })
  ),
  sampler_index: maybe(Type.String({ maxLength: 64, description: 'Used without sampler_name.' })),
  scheduler: maybe(
    Type.String({
      maxLength: 64,
      description:
        'The noise schedule, by name or label, for example `karras`; GET /sdapi/v1/schedulers lists all. Default: Automatic.'
    })
  ),
  batch_size: count('Images in a batch.'),
  n_iter: count('Number of batches. All images are one request, batch_size · n_iter of them.'),
  eta: maybe({ ...eta.schema, description: "Fresh noise in each step of DDIM; otherwise the sampler's own." }),
  clip_skip: maybe(
    Type.Integer({ minimum: 1, maximum: MAX_LAYERS, description: "SD.Next's name for CLIP_stop_at_last_layers." })
  ),
  refiner_checkpoint: maybe(
    Type.String({
      maxLength: 256,
      description:
        "The model's refiner, by the name that GET /health lists, with or without the file's ending and hash; None for none."
    })
  ),
  refiner_switch_at: maybe(
    Type.Number({
      minimum: 0,
      maximum: 1,
      description: 'Where the refiner takes over, with refiner_checkpoint: as `denoising_end`. Default: 0.8.'
    })
  ),
  override_settings: maybe(Type.Object(SdapiOptions.properties, { description: 'Settings for this request alone.' })),
  alwayson_scripts: maybe(SdapiScripts),
  force_task_id: maybe(
    Type.String({
      minLength: 1,
      maxLength: 128,
      description: 'A name by which GET /sdapi/v1/progress and POST /sdapi/v1/interrupt find the request.'
    })
  )
})
export type SdapiImagesRequest = Static<typeof SdapiImagesRequest> & Readonly<Record<string, unknown>>

const hiresEdge = { type: 'integer', minimum: 0, maximum: 8192 } as const

/**
 * Body of POST /sdapi/v1/txt2img: the fields of the web UI's API. Types are checked here, and in `routes/sdapi/` what
 * the fields may ask for.
 *
 * @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/api/models.py
 */
export const SdapiTxt2ImgRequest = Type.Object(
  {
    ...SdapiImagesRequest.properties,
    enable_hr: maybe(
      Type.Boolean({ description: 'Make a second pass at a larger size. The other fields of hr_* need it.' })
    ),
    hr_scale: maybe(
      Type.Number({
        minimum: 0,
        maximum: 64,
        description: 'How many times larger the finished image is. Only compiled sizes are offered. Default: 2.'
      })
    ),
    hr_resize_x: maybe({
      ...hiresEdge,
      description: 'Width of the finished image instead; 0 follows from the height.'
    }),
    hr_resize_y: maybe({ ...hiresEdge, description: 'Its height; 0 follows from the width.' }),
    hr_upscaler: maybe(
      Type.String({
        maxLength: 256,
        description:
          'Bicubic, or Lanczos or None, which mean the same here; or one of GET /sdapi/v1/latent-upscale-modes. Default: Bicubic.'
      })
    ),
    hr_second_pass_steps: maybe(
      Type.Integer({ minimum: 0, maximum: 1000, description: 'Steps of the second pass; 0 means `steps`.' })
    ),
    denoising_strength: maybe({
      ...strength.schema,
      description: 'How much the second pass changes the image, with enable_hr. Default: 0.7.'
    }),
    ...unpaintedProperties({ ...TXT2IMG, fixed: { ...TXT2IMG.fixed, ...WITH_HIRES } })
  },
  { $id: 'SdapiTxt2ImgRequest', examples: [{ prompt: 'a red circle on a blue background', steps: 20 }] }
)

export type SdapiTxt2ImgRequest = Static<typeof SdapiTxt2ImgRequest> & Readonly<Record<string, unknown>>

/** An integer for a switch, which some clients send as a boolean. */
const flag = (description: string) =>
  Type.Optional(Type.Unsafe<boolean | 0 | 1 | null>({ enum: [true, false, 0, 1, null], description }))

/** Body of POST /sdapi/v1/img2img. */
export const SdapiImg2ImgRequest = Type.Object(
  {
    ...SdapiImagesRequest.properties,
    init_images: Type.Array(Type.String({ description: 'A PNG, JPEG or WebP file in base64, or a data: URL.' }), {
      minItems: 1,
      maxItems: 1,
      description: 'The picture to start from. One for all images.'
    }),
    denoising_strength: maybe({
      ...strength.schema,
      description:
        'How much to change the picture: of N steps, the last ⌊N · denoising_strength⌋ run. Default: 0.3, or 0.9999 with a mask.'
    }),
    resize_mode: maybe(
      Type.Integer({
        minimum: 0,
        maximum: 3,
        description:
          "How the picture is brought to the image's size: 0 stretches it, 1 covers the size and cuts the rest off, 2 shows all of it and repeats its edges. 3, the resizing of latents, is refused. Only 2 with inpaint_full_res. Default: 0."
      })
    ),
    mask: maybe(Type.String({ description: 'What to repaint, as a picture: white is repainted, black stays.' })),
    inpainting_mask_invert: flag('1 repaints what is black instead.'),
    inpaint_full_res: flag(
      'Paint only the part around the mask, at the full size of the image, and put it back. Default: no.'
    ),
    inpaint_full_res_padding: maybe({
      ...padding_mask_crop.schema,
      description: 'How many pixels around the mask belong to that part. Default: 0.'
    }),
    ...unpaintedProperties({ ...IMG2IMG, fixed: { ...IMG2IMG.fixed, ...WITH_MASK } })
  },
  {
    $id: 'SdapiImg2ImgRequest',
    examples: [{ prompt: 'a red circle on a blue background', init_images: [ONE_PIXEL], denoising_strength: 0.6 }]
  }
)
export type SdapiImg2ImgRequest = Static<typeof SdapiImg2ImgRequest> & Readonly<Record<string, unknown>>

export const SdapiImagesResponse = Type.Object(
  {
    images: Type.Array(Type.String({ description: 'A file in base64.' })),
    parameters: Type.Object({}, { additionalProperties: true, description: "The request's fields." }),
    info: Type.String({ description: 'JSON: seed, all_seeds, infotexts and other values of the images.' })
  },
  { $id: 'SdapiImagesResponse' }
)
export type SdapiImagesResponse = Static<typeof SdapiImagesResponse>

/** @see https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/api/api.py */
export const SdapiError = Type.Object(
  {
    error: Type.String({ description: "Easel's error code." }),
    detail: Type.String({ description: 'What is wrong, for people.' }),
    body: Type.String(),
    errors: Type.String({ description: 'The same as detail, after the status.' })
  },
  { $id: 'SdapiError' }
)
export type SdapiError = Static<typeof SdapiError>

const orNull = <T extends 'string' | 'number' | 'integer' | 'boolean'>(type: T, description?: string) =>
  Type.Unsafe<string | null>({ type: [type, 'null'], ...(description === undefined ? {} : { description }) })

export const SdapiSampler = Type.Object(
  {
    name: Type.String(),
    aliases: Type.Array(Type.String(), { description: "Easel's own name, without a schedule." }),
    options: Type.Object(
      {
        scheduler: Type.Optional(Type.String({ description: 'The schedule that Automatic means for this sampler.' }))
      },
      { additionalProperties: false }
    )
  },
  { $id: 'SdapiSampler' }
)

export const SdapiScheduler = Type.Object(
  {
    name: Type.String(),
    label: Type.String(),
    aliases: Type.Unsafe<string[] | null>({ type: ['array', 'null'], items: { type: 'string' } }),
    default_rho: Type.Number(),
    need_inner_model: Type.Boolean()
  },
  { $id: 'SdapiScheduler' }
)

export const SdapiLatentMode = Type.Object(
  { name: Type.String({ description: 'What hr_upscaler takes.' }) },
  { $id: 'SdapiLatentMode' }
)

export const SdapiUpscaler = Type.Object(
  {
    name: Type.String({ description: 'What hr_upscaler takes.' }),
    model_name: orNull('string'),
    model_path: orNull('string'),
    model_url: orNull('string'),
    scale: orNull('number')
  },
  { $id: 'SdapiUpscaler' }
)

export const SdapiModel = Type.Object(
  {
    title: Type.String({ description: 'What override_settings.sd_model_checkpoint takes.' }),
    model_name: Type.String(),
    hash: orNull('string', "The start of the digest of the model's weights."),
    sha256: orNull('string'),
    filename: Type.String(),
    config: orNull('string')
  },
  { $id: 'SdapiModel' }
)

const SdapiEmbedding = Type.Object({
  step: Type.Null(),
  sd_checkpoint: Type.Null(),
  sd_checkpoint_name: Type.Null(),
  shape: Type.Integer({ description: 'Numbers of a vector for both text encoders of SDXL.' }),
  vectors: Type.Integer({ description: 'How many tokens of a prompt it takes.' })
})

export const SdapiEmbeddings = Type.Object(
  {
    loaded: Type.Record(Type.String(), SdapiEmbedding, { description: 'By the names that prompts call them.' }),
    skipped: Type.Object({}, { description: "Always empty: what does not fit the model is in the worker's log." })
  },
  { $id: 'SdapiEmbeddings' }
)

export const SdapiLora = Type.Object(
  {
    name: Type.String({ description: 'What a tag <lora:name:1> in the prompt calls it.' }),
    alias: Type.String(),
    path: Type.String(),
    metadata: Type.Object({}, { additionalProperties: true })
  },
  { $id: 'SdapiLora' }
)

export const SdapiProgress = Type.Object(
  {
    progress: Type.Number({ description: '0 to 1.' }),
    eta_relative: Type.Number({ description: 'Seconds until it ends; 0 if unknown.' }),
    state: Type.Object({
      skipped: Type.Boolean(),
      interrupted: Type.Boolean(),
      stopping_generation: Type.Boolean(),
      job: Type.String(),
      job_count: Type.Integer({ description: 'Images of the request; 0 if none is in flight.' }),
      job_timestamp: Type.String(),
      job_no: Type.Integer({ description: 'Images that are done.' }),
      sampling_step: Type.Integer(),
      sampling_steps: Type.Integer()
    }),
    current_image: orNull('string', 'A preview as JPEG in base64.'),
    textinfo: orNull('string')
  },
  { $id: 'SdapiProgress' }
)
export type SdapiProgress = Static<typeof SdapiProgress>

/** What GET /sdapi/v1/progress and POST /sdapi/v1/interrupt take. */
export const SdapiTaskQuery = Type.Object({
  force_task_id: Type.Optional(
    Type.String({ minLength: 1, maxLength: 128, description: "The request's own. Default: the requests of the key." })
  )
})

export const SdapiProgressQuery = Type.Object({
  ...SdapiTaskQuery.properties,
  skip_current_image: Type.Optional(
    Type.String({ pattern: '^([Tt]rue|[Ff]alse|0|1)$', description: 'Whether to leave the preview out.' })
  )
})

export const SdapiPngInfoRequest = Type.Object(
  { image: Type.String({ description: 'A PNG, JPEG or WebP file in base64, or a data: URL.' }) },
  { $id: 'SdapiPngInfoRequest', additionalProperties: false }
)

export const SdapiPngInfoResponse = Type.Object(
  {
    info: Type.String({ description: "The parameters of the image, as the web UI's text; empty if it has none." }),
    items: Type.Object(
      { easel: Type.Optional(Type.String({ description: 'The recipe of an image that Easel made, as JSON.' })) },
      { description: 'Other texts in the file.' }
    ),
    parameters: Type.Object({}, { additionalProperties: true, description: 'The fields of info.' })
  },
  { $id: 'SdapiPngInfoResponse' }
)
export type SdapiPngInfoResponse = Static<typeof SdapiPngInfoResponse>
