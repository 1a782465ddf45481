import { Type, type Static, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import { PROMPT_SYNTAXES, type PromptSyntax } from './prompt/fragment.js'
import { RESIZE_MODES, type ResizeMode } from './pictures/fit.js'
import { MASK_MEANINGS, type MaskMeaning } from './pictures/mask-meaning.js'
import { CANNY, PREPROCESSORS, type PreprocessorName } from './pictures/preprocessors.js'
import { UPSCALERS, type Upscaler } from './upscalers.js'
import { PRIORITIES, type Priority } from './priority.js'
import { OutputFormat } from './schemas/format.js'
import { MAX_WEBHOOK_URL } from './webhooks/hosts.js'

/**
 * The longest prompt in UTF-16 units, the same as in OpenAI's API. 77 tokens rarely exceed 500 units. Longer prompts
 * are accepted so that the server can truncate them or say where it would.
 */
export const MAX_PROMPT_LENGTH = 32_000

/** The most embeddings that an image's prompts may have. */
export const MAX_EMBEDDINGS = 64

/** The most LoRAs that an image may have, and the largest weight of one, of either sign. */
export const MAX_LORAS = 8
export const MAX_LORA_WEIGHT = 10

/** The most ControlNets and T2I-Adapters, and the most IP-Adapters, of an image. */
export const MAX_CONTROLS = 2
export const MAX_IP_ADAPTERS = 1

/** One parameter of a request for images, with everything the gateway derives from it. */
export interface Parameter {
  /** Its schema in POST /generate. */
  readonly schema: TSchema
  /** Set if a request must have it. */
  readonly required?: true
  /** Its value when neither the request nor the operator nor the model sets it. */
  readonly fallback?: string | number
  /**
   * The value at which it has no effect; also its fallback. Recipes and messages to workers omit it then, so that older
   * readers accept them.
   */
  readonly neutral?: number | string
  /**
   * The operator's default, read from the option `key`. A parameter without `neutral` also has a default of the model,
   * under the same name in HELLO.
   */
  readonly option?: { readonly key: string; readonly value?: string; readonly doc: string }
  /** The name of its maximum among the limits in HELLO. If HELLO lacks it, the maximum is `neutral`. */
  readonly limit?: string
  /** The worker feature required for values other than `neutral`. */
  readonly feature?: string
  /** Why it must be `neutral`, or left out, without the limit or the feature; part of the error. */
  readonly unable?: string
  /** Whether every recipe has it, or only those of images that it affects; or its schema there, if different. */
  readonly recipe?: 'always' | 'where decided' | TSchema
  /** Its name in AUTOMATIC1111-style settings in a file, if that web UI has no name for it. */
  readonly label?: string
  /** True if /v1 accepts it under the same name; or its schema there, if different. */
  readonly openai?: true | TSchema
  /** Its name in a GENERATE message. */
  readonly wire?: string
  /** True if it is about the request and no value of its images: recipes and messages to workers do not have it. */
  readonly handling?: true
  /** True if nothing takes its place when a request omits it. */
  readonly omittable?: true
  /** True if the presets of a model in HELLO may set it. */
  readonly preset?: true
}

const size = { minimum: 8, maximum: 8192 }
const share = { minimum: 0, maximum: 1 }

/** What the parameters of a schedule have in common. */
const schedules = {
  preset: true,
  feature: 'schedules',
  unable: "the workers take only the model's schedule",
  recipe: 'where decided',
  openai: true
} as const

/** Two whole numbers, as diffusers writes sizes and corners. */
const pair = (minimum: number, description: string) =>
  Type.Unsafe<[number, number]>({
    type: 'array',
    items: { type: 'integer', minimum, maximum: 65_535 },
    minItems: 2,
    maxItems: 2,
    description
  })

const sha256 = (description: string) => Type.String({ pattern: '^[0-9a-f]{64}$', description })

const fileDigest = Type.Optional(
  sha256('SHA-256 of its file. With it a request fails rather than use another file of that name.')
)

const loraWeight = (description: string) =>
  Type.Optional(Type.Number({ minimum: -MAX_LORA_WEIGHT, maximum: MAX_LORA_WEIGHT, description }))

const loraName = Type.String({
  minLength: 1,
  maxLength: 200,
  description: 'As GET /loras lists it. The part after the last / is enough if only one has it.'
})

const fileName = (list: string) =>
  Type.String({
    minLength: 1,
    maxLength: 200,
    description: `As GET ${list} lists it. The part after the last / is enough if only one has it.`
  })

/** A picture of an entry of a list. In a form it is a file of its own. */
const entryPicture = (description: string) => Type.Optional(Type.String({ description }))

const pictureSha256 = Type.Optional(
  sha256('SHA-256 of `image`. With it a request fails rather than take another file; recipes have it.')
)

const conditioningScale = (description: string) => Type.Optional(Type.Number({ minimum: 0, maximum: 10, description }))

const resizeMode = (description: string) =>
  Type.Unsafe<ResizeMode>({ type: 'string', enum: [...RESIZE_MODES], description })

const threshold = (description: string) => Type.Optional(Type.Number({ minimum: 0, maximum: CANNY.most, description }))

/** What a control has besides its file and its picture. */
const controlValues = {
  preprocessor: Type.Optional(
    Type.Unsafe<PreprocessorName>({
      type: 'string',
      enum: [...PREPROCESSORS],
      description:
        "What is made of `image` first, at the image's size: `none`, the default, for one that already shows edges, depth or a pose; `canny`, edges, as OpenCV; `lineart`, lines, as lineart_standard of AUTOMATIC1111's extension."
    })
  ),
  low_threshold: threshold(`With canny: the lower threshold, as in OpenCV. Default: ${CANNY.low}.`),
  high_threshold: threshold(`With canny: the higher threshold. Default: ${CANNY.high}.`),
  resize_mode: Type.Optional(resizeMode("How `image` is brought to the image's size, as below. Default: default.")),
  controlnet_conditioning_scale: conditioningScale(
    'How strongly the image follows the picture, as in diffusers; for a T2I-Adapter, adapter_conditioning_scale. Default: 1.'
  ),
  control_guidance_start: Type.Optional(
    Type.Number({ ...share, description: 'Fraction of the steps at which it starts, as in diffusers. Default: 0.' })
  ),
  control_guidance_end: Type.Optional(
    Type.Number({ ...share, description: 'Fraction of the steps at which it ends. Default: 1.' })
  )
}

const ipAdapterValues = {
  scale: conditioningScale('How much the picture counts beside the prompt, as in diffusers. Default: 1.')
}

/** What a recipe says of a file and its picture. */
const recipeEntry = {
  name: Type.String(),
  digest: Type.String(),
  image_sha256: sha256('SHA-256 of its picture, which must be sent again.')
}

/** What SDXL's micro-conditioning parameters have in common. */
const microConditioning = {
  omittable: true,
  feature: 'micro_conditioning',
  unable: "the workers condition on the image's own size",
  recipe: 'where decided',
  openai: true
} as const

/** What the scores of models such as SDXL's refiner have in common. */
const score = {
  feature: 'aesthetic_score',
  unable: 'the model takes no aesthetic score',
  recipe: 'where decided',
  openai: true
} as const

/**
 * All parameters of a request for images, in the order of a recipe. The request, the recipe, the extras of /v1, the
 * operator's defaults, /health, the OpenAPI document and the message to the worker are derived from this table.
 * docs/extending.md shows how to add one.
 */
export const parameters = {
  prompt: {
    schema: Type.String({
      minLength: 1,
      maxLength: MAX_PROMPT_LENGTH,
      description: 'What the image shows.',
      examples: ['a red circle on a blue background']
    }),
    required: true,
    recipe: 'always'
  },
  model: {
    schema: Type.String({
      minLength: 1,
      maxLength: 256,
      description: "Which of the server's models makes the images; GET /health lists them. Default: the first."
    }),
    handling: true
  },
  preset: {
    schema: Type.String({
      maxLength: 64,
      description:
        "Values for a few-step model, for example lightning-4: GET /health lists what each sets. Fields that the request sets itself win. Timesteps of a preset are for its own sampler and number of steps, eta for its sampler. Default: the model's defaults."
    }),
    handling: true,
    openai: true
  },
  negative_prompt: {
    schema: Type.String({
      maxLength: MAX_PROMPT_LENGTH,
      description:
        "What the image should not show. Used when guidance_scale > 1. Empty means none, like diffusers' `negative_prompt=None`: zero embeddings if the model has force_zeros_for_empty_prompt, as SDXL base does."
    }),
    option: { key: 'defaultNegativePrompt', doc: "Negative prompt of requests without one. Default: the model's." },
    recipe: 'always',
    openai: true
  },
  prompt_2: {
    schema: Type.String({
      maxLength: MAX_PROMPT_LENGTH,
      description: 'The prompt for the second text encoder, which also gives the pooled embedding. Default: `prompt`.'
    }),
    omittable: true,
    recipe: 'where decided',
    label: 'Prompt 2',
    openai: true
  },
  negative_prompt_2: {
    schema: Type.String({
      maxLength: MAX_PROMPT_LENGTH,
      description:
        'The negative prompt for the second text encoder. Default: `negative_prompt`. With it, an empty `negative_prompt` is the empty text.'
    }),
    omittable: true,
    recipe: 'where decided',
    label: 'Negative prompt 2',
    openai: true
  },
  prompt_syntax: {
    schema: Type.Unsafe<PromptSyntax>({
      type: 'string',
      enum: [...PROMPT_SYNTAXES],
      description:
        "How the prompts are read. `plain`: as text. `a1111`: weights and BREAK as in AUTOMATIC1111's web UI, e.g. (red:1.3). `compel`: weights as in compel, e.g. (red)1.3 or red++. The last two take long prompts, in chunks of 75 tokens."
    }),
    neutral: 'plain',
    option: { key: 'defaultPromptSyntax', doc: 'prompt_syntax of requests without it.' },
    recipe: 'where decided',
    label: 'Prompt syntax',
    openai: true
  },
  force_zeros_for_empty_prompt: {
    schema: Type.Unsafe<false>({
      type: 'boolean',
      enum: [false],
      description:
        'false encodes an empty negative prompt as text, like diffusers\' `negative_prompt=""`. Default: the model\'s own setting.'
    }),
    omittable: true,
    recipe: 'where decided',
    openai: true
  },
  seed: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 4_294_967_295,
      description:
        'Seed of the initial noise. The same request with the same seed gives the same image. Random if omitted; always returned.'
    }),
    recipe: 'always',
    openai: Type.Integer({
      minimum: -1,
      maximum: 4_294_967_295,
      description: 'As in POST /generate; -1 picks a random seed.'
    })
  },
  num_inference_steps: {
    schema: Type.Integer({ minimum: 1, maximum: 1000, description: 'Denoising steps.' }),
    option: {
      key: 'defaultSteps',
      doc: "num_inference_steps of requests without it. Default: the model's (SDXL base: 40)."
    },
    preset: true,
    limit: 'max_steps',
    recipe: 'always',
    openai: true,
    wire: 'steps'
  },
  guidance_scale: {
    schema: Type.Number({
      minimum: 0,
      maximum: 100,
      description: 'Classifier-free guidance scale; 1 or less turns guidance off.'
    }),
    option: {
      key: 'defaultGuidanceScale',
      doc: "guidance_scale of requests without it. Default: the model's (SDXL base: 5.0)."
    },
    preset: true,
    limit: 'max_guidance_scale',
    recipe: 'always',
    openai: true,
    wire: 'guidance'
  },
  scheduler: {
    schema: Type.String({
      maxLength: 64,
      description: 'Sampler, for example euler or dpmpp_2m; GET /health lists all.'
    }),
    option: { key: 'defaultScheduler', value: 'name', doc: "scheduler of requests without it. Default: the model's." },
    preset: true,
    recipe: 'always',
    openai: true,
    wire: 'scheduler'
  },
  timestep_spacing: {
    schema: Type.Unsafe<'leading' | 'trailing' | 'linspace'>({
      type: 'string',
      enum: ['leading', 'trailing', 'linspace'],
      description: "How the scheduler spaces its timesteps. Default: the model's."
    }),
    omittable: true,
    ...schedules,
    wire: 'timestep_spacing'
  },
  timesteps: {
    schema: Type.Array(Type.Integer({ minimum: 0 }), {
      minItems: 1,
      maxItems: 1000,
      description:
        "The timestep of each step, descending, as diffusers' `timesteps`. Decides num_inference_steps. Not every scheduler takes them."
    }),
    omittable: true,
    ...schedules,
    wire: 'timesteps'
  },
  sigmas: {
    schema: Type.Array(Type.Number({ minimum: 0, maximum: 1e6 }), {
      minItems: 2,
      maxItems: 1001,
      description:
        "The noise levels before each step and after the last one, descending, as diffusers' `sigmas`. One more than num_inference_steps, which they decide. Not every scheduler takes them."
    }),
    omittable: true,
    ...schedules,
    wire: 'sigmas'
  },
  eta: {
    schema: Type.Number({
      minimum: 0,
      maximum: 1,
      description: "Fresh noise in each step, for the schedulers ddim and tcd. Default: the model's, or 0."
    }),
    omittable: true,
    ...schedules,
    wire: 'eta'
  },
  width: {
    schema: Type.Integer({
      ...size,
      description: 'Width in pixels. Only compiled sizes are offered; GET /health lists them.'
    }),
    option: {
      key: 'defaultWidth',
      value: 'pixels',
      doc: "width of requests without it. Default: the model's (SDXL base: 1024)."
    },
    recipe: 'always',
    wire: 'width'
  },
  height: {
    schema: Type.Integer({ ...size, description: 'Height in pixels.' }),
    option: {
      key: 'defaultHeight',
      value: 'pixels',
      doc: "height of requests without it. Default: the model's (SDXL base: 1024)."
    },
    recipe: 'always',
    wire: 'height'
  },
  image: {
    schema: Type.String({
      description:
        'The picture to start from: a PNG, JPEG or WebP file in base64, or as a data: URL; in a form, a file. It is turned upright and loses its alpha. Without width and height, the image has the offered size whose aspect ratio is nearest to it.'
    }),
    handling: true
  },
  mask_image: {
    schema: Type.String({
      description:
        'Which parts of `image` to repaint: white those, black what stays. A file like `image`; a pixel is white from a luminance of 128 on.'
    }),
    handling: true
  },
  image_sha256: {
    schema: sha256('SHA-256 of `image`. With it a request fails rather than start from another file; recipes have it.'),
    omittable: true,
    recipe: 'where decided'
  },
  mask_image_sha256: {
    schema: sha256('The same for `mask_image`.'),
    omittable: true,
    recipe: 'where decided'
  },
  mask_from: {
    schema: Type.Unsafe<MaskMeaning>({
      type: 'string',
      enum: [...MASK_MEANINGS],
      description:
        "What of `mask_image` is repainted: `white`, the default, `black`, or what is `transparent`, as in OpenAI's API."
    }),
    omittable: true,
    recipe: 'where decided'
  },
  strength: {
    schema: Type.Number({
      ...share,
      description:
        'How much to change `image`, as in diffusers: of N steps, the last ⌊N·strength⌋ run. 1 runs all of them. Default: 0.3, or 0.9999 with `mask_image`.'
    }),
    omittable: true,
    recipe: 'where decided',
    label: 'Denoising strength'
  },
  resize_mode: {
    schema: resizeMode(
      "How `image` and `mask_image` are brought to the image's size, as in diffusers: `default` stretches them, `crop` covers the size and cuts the rest off, `fill` shows all of them and repeats their edges. Default: default, or fill with padding_mask_crop."
    ),
    omittable: true,
    recipe: 'where decided'
  },
  padding_mask_crop: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 8192,
      description:
        "Paint only the part of `image` around the mask, with this many pixels around it, at the image's full size, and put it back, as in diffusers. The answer then has the size of `image`."
    }),
    omittable: true,
    recipe: 'where decided'
  },
  hires: {
    schema: Type.Object(
      {
        width: Type.Integer({ ...size, description: 'Width of the finished image; only compiled sizes are offered.' }),
        height: Type.Integer({ ...size, description: 'Height of the finished image.' }),
        strength: Type.Optional(
          Type.Number({ ...share, description: 'How much the second pass changes the enlarged image. Default: 0.7.' })
        ),
        num_inference_steps: Type.Optional(
          Type.Integer({
            minimum: 1,
            maximum: 1000,
            description: 'Steps of the second pass before `strength`. Default: those of the first.'
          })
        ),
        upscaler: Type.Optional(
          Type.Unsafe<Upscaler>({
            type: 'string',
            enum: [...UPSCALERS],
            description:
              "What enlarges the image: `bicubic` its pixels, the others its latents, as AUTOMATIC1111's upscalers of these names; they need a strength of about 0.5 or more. Default: bicubic."
          })
        )
      },
      {
        additionalProperties: false,
        description:
          'A second pass: each image is enlarged to this size and changed from there, like `image` with `strength`. `width` and `height` are the size of the first pass.'
      }
    ),
    omittable: true,
    feature: 'image_to_image',
    unable: 'no worker starts from a picture',
    recipe: 'where decided',
    openai: true
  },
  loras: {
    schema: Type.Array(
      Type.Object(
        {
          name: loraName,
          weight: loraWeight('How strongly it changes the model; may be negative. Default: 1.'),
          unet_weight: loraWeight('The weight for the UNet alone. Default: `weight`.'),
          text_weight: loraWeight('The weight for the text encoders alone. Default: `weight`.'),
          digest: fileDigest
        },
        { additionalProperties: false }
      ),
      {
        maxItems: MAX_LORAS,
        description:
          'LoRAs to apply, in any order; GET /loras lists them. In the syntax `a1111` the prompt may also name them: <lora:name:0.8>.'
      }
    ),
    omittable: true,
    feature: 'loras',
    unable: 'this server has no LoRAs; its operator sets LORAS',
    recipe: Type.Array(
      Type.Object({
        name: Type.String(),
        digest: Type.String(),
        unet_weight: Type.Number(),
        text_weight: Type.Number()
      }),
      { description: 'The LoRAs that were applied, also those that the prompt names.' }
    ),
    openai: true
  },
  embeddings: {
    schema: Type.Array(
      Type.Object(
        {
          name: Type.String({ minLength: 1, maxLength: 200, description: 'As GET /embeddings lists it.' }),
          digest: fileDigest
        },
        { additionalProperties: false }
      ),
      {
        maxItems: MAX_EMBEDDINGS,
        description:
          'The embeddings that the prompts may name; other names are text. Default: all that GET /embeddings lists.'
      }
    ),
    omittable: true,
    recipe: Type.Array(Type.Object({ name: Type.String(), digest: Type.String() }), {
      description: 'The embeddings that the prompts name. Absent if the server had no folder of them.'
    }),
    openai: true
  },
  controls: {
    schema: Type.Array(
      Type.Object(
        {
          name: fileName('/controls'),
          image: entryPicture('The picture to follow, a file like `image` of the request; in a form, `control_image`.'),
          ...controlValues,
          digest: fileDigest,
          image_sha256: pictureSha256
        },
        { additionalProperties: false }
      ),
      {
        maxItems: MAX_CONTROLS,
        description:
          'Pictures whose edges, depth or pose the image follows, each by a ControlNet or T2I-Adapter; GET /controls lists them.'
      }
    ),
    omittable: true,
    feature: 'controls',
    unable: 'this server has no ControlNets; its operator sets CONTROLNETS',
    recipe: Type.Array(Type.Object({ ...recipeEntry, ...controlValues }), {
      description: 'What the image follows.'
    }),
    openai: true
  },
  ip_adapters: {
    schema: Type.Array(
      Type.Object(
        {
          name: fileName('/ip-adapters'),
          image: entryPicture('The picture, a file like `image` of the request; in a form, `ip_adapter_image`.'),
          ...ipAdapterValues,
          digest: fileDigest,
          image_sha256: pictureSha256
        },
        { additionalProperties: false }
      ),
      {
        maxItems: MAX_IP_ADAPTERS,
        description: 'Pictures that count as prompts, each by an IP-Adapter; GET /ip-adapters lists them.'
      }
    ),
    omittable: true,
    feature: 'ip_adapters',
    unable: 'this server has no IP-Adapters; its operator sets IP_ADAPTERS',
    recipe: Type.Array(Type.Object({ ...recipeEntry, ...ipAdapterValues }), {
      description: 'Pictures that counted as prompts.'
    }),
    openai: true
  },
  output_format: {
    schema: Type.Unsafe<Static<typeof OutputFormat>>({
      ...OutputFormat,
      description: 'File format. Default: the format in Accept, else png.'
    }),
    fallback: 'png',
    recipe: 'always'
  },
  quality: {
    schema: Type.Integer({
      minimum: 1,
      maximum: 100,
      description: 'Quality of jpeg and webp; png is lossless. Default: 90.'
    }),
    // diffusers and Pillow have no common default. 90 is safe for images with hard edges.
    fallback: 90,
    recipe: 'where decided'
  },
  truncate: {
    schema: Type.Boolean({
      description:
        'Cut a prompt that is too long instead of refusing it: after 77 tokens, or in other syntaxes than plain after the chunks that GET /health limits.'
    }),
    recipe: Type.Literal(true, { description: 'A prompt was truncated.' }),
    handling: true
  },
  clip_skip: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 100,
      description:
        "How many more of the last layers of both text encoders to skip for the prompt, as in diffusers. 0, the default, takes the last layer but one: AUTOMATIC1111's Clip skip 2."
    }),
    neutral: 0,
    option: { key: 'defaultClipSkip', doc: 'clip_skip of requests without it.' },
    limit: 'max_clip_skip',
    unable: 'the workers do not say how many layers they have',
    recipe: 'where decided',
    openai: true,
    wire: 'clip_skip'
  },
  guidance_start: {
    schema: Type.Number({
      ...share,
      description: 'Fraction of the steps at which guidance starts. Steps without guidance cost half.'
    }),
    neutral: 0,
    option: {
      key: 'defaultGuidanceStart',
      doc: 'guidance_start of requests without it: the fraction of the steps at which guidance starts.'
    },
    feature: 'guidance_interval',
    unable: 'the workers guide all steps',
    recipe: 'where decided',
    label: 'CFG start',
    openai: true,
    wire: 'guidance_start'
  },
  guidance_end: {
    schema: Type.Number({
      ...share,
      description:
        'Fraction of the steps at which guidance ends; at least guidance_start. Of N steps, counted from 0, steps ⌊guidance_start·N⌋ up to but not including ⌊guidance_end·N⌋ are guided.'
    }),
    neutral: 1,
    option: {
      key: 'defaultGuidanceEnd',
      doc: 'guidance_end of requests without it: the fraction of the steps at which guidance ends.'
    },
    feature: 'guidance_interval',
    unable: 'the workers guide all steps',
    recipe: 'where decided',
    label: 'CFG end',
    openai: true,
    wire: 'guidance_end'
  },
  cache_interval: {
    schema: Type.Integer({
      minimum: 1,
      maximum: 1000,
      description:
        'Run the full UNet every N steps and reuse its deep features in between (DeepCache). At most the limit in GET /health.'
    }),
    neutral: 1,
    option: {
      key: 'defaultCacheInterval',
      doc: 'cache_interval of requests without it: run the full UNet every N steps. Values above 1 need workers that allow it (their MAX_CACHE_INTERVAL).'
    },
    limit: 'max_cache_interval',
    unable: 'the workers run the full UNet in every step',
    recipe: 'where decided',
    label: 'Cache interval',
    openai: true,
    wire: 'cache_interval'
  },
  cache_order: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 1,
      description:
        'With a cache_interval above 1: 0 reuses the last deep features; 1 continues the line through the last two (as TaylorSeer does), which changes images less. No effect otherwise.'
    }),
    neutral: 0,
    option: {
      key: 'defaultCacheOrder',
      doc: 'cache_order of requests without it: 1 forecasts the deep features of cached steps, 0 reuses the last.'
    },
    feature: 'cache_order',
    unable: 'the workers do not forecast features',
    recipe: 'where decided',
    label: 'Cache order',
    openai: true,
    wire: 'cache_order'
  },
  guidance_rescale: {
    schema: Type.Number({
      ...share,
      description:
        'How far to move the standard deviation of guided predictions to that of unguided ones, against overexposure: 0 not at all, 1 fully. As in diffusers.'
    }),
    neutral: 0,
    option: { key: 'defaultGuidanceRescale', doc: 'guidance_rescale of requests without it.' },
    feature: 'guidance_rescale',
    unable: 'the workers do not rescale predictions',
    recipe: 'where decided',
    label: 'CFG Rescale',
    openai: true,
    wire: 'guidance_rescale'
  },
  original_size: {
    schema: pair(
      1,
      "[height, width] of the picture that the image should look like it was scaled from, as in diffusers. Default: the image's own."
    ),
    ...microConditioning,
    wire: 'original_size'
  },
  crops_coords_top_left: {
    schema: pair(
      0,
      '[top, left] of the crop that the image should look like, as in diffusers. Default: [0, 0], a centered subject.'
    ),
    ...microConditioning,
    wire: 'crops_coords_top_left'
  },
  target_size: {
    schema: pair(1, "[height, width] that the image should look made for, as in diffusers. Default: the image's own."),
    ...microConditioning,
    wire: 'target_size'
  },
  negative_original_size: {
    schema: pair(
      1,
      'original_size for the negative prompt. Used with negative_target_size only. Default: original_size.'
    ),
    ...microConditioning,
    wire: 'negative_original_size'
  },
  negative_crops_coords_top_left: {
    schema: pair(0, 'crops_coords_top_left for the negative prompt, if its sizes are given. Default: [0, 0].'),
    ...microConditioning,
    wire: 'negative_crops_coords_top_left'
  },
  negative_target_size: {
    schema: pair(
      1,
      'target_size for the negative prompt. Used with negative_original_size only. Default: target_size.'
    ),
    ...microConditioning,
    wire: 'negative_target_size'
  },
  aesthetic_score: {
    schema: Type.Number({
      minimum: 0,
      maximum: 10,
      description:
        "How beautiful the image should be, for models that were trained with such scores: SDXL's refiner, also where it does an image's last steps (`denoising_end`). As in diffusers."
    }),
    neutral: 6,
    option: { key: 'defaultAestheticScore', doc: 'aesthetic_score of requests without it.' },
    ...score,
    label: 'Aesthetic score',
    wire: 'aesthetic_score'
  },
  negative_aesthetic_score: {
    schema: Type.Number({
      minimum: 0,
      maximum: 10,
      description: 'The same for the negative prompt, which the image moves away from.'
    }),
    neutral: 2.5,
    option: { key: 'defaultNegativeAestheticScore', doc: 'negative_aesthetic_score of requests without it.' },
    ...score,
    label: 'Negative aesthetic score',
    wire: 'negative_aesthetic_score'
  },
  denoising_end: {
    schema: Type.Number({
      exclusiveMinimum: 0,
      exclusiveMaximum: 1,
      description:
        "Where the refiner takes over, as in diffusers: it does the steps from this fraction of the training timesteps on, from the model's latents and without new noise. SDXL's authors take 0.8. Default: the model does all steps."
    }),
    omittable: true,
    feature: 'refiner',
    unable: 'this model has no refiner; the operator sets REFINER',
    recipe: 'where decided',
    label: 'Refiner switch at',
    openai: true,
    wire: 'denoising_end'
  },
  num_images: {
    schema: Type.Integer({
      minimum: 1,
      maximum: 64,
      description:
        'Number of images. Image i, counted from 0, has the seed + i. Several images come as JSON, multipart/mixed or events.'
    }),
    fallback: 1,
    limit: 'max_images'
  },
  timeout: {
    schema: Type.Number({
      exclusiveMinimum: 0,
      maximum: 86_400,
      description:
        "Seconds that the client will wait. A request that cannot finish by then is refused at once; one that does not finish by then is stopped with 504. The server's own limit still applies."
    }),
    handling: true
  },
  priority: {
    schema: Type.Unsafe<Priority>({
      type: 'string',
      enum: [...PRIORITIES],
      description:
        "`batch`, for images that nobody waits for: such a request waits while interactive ones do, but not for ever. Default: `interactive`, or `batch` where the caller's key is for batch requests only."
    }),
    handling: true,
    openai: true
  },
  preview_interval: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 1000,
      description: 'Steps between previews in the event stream. 0, the default, means none.'
    }),
    handling: true
  },
  webhook: {
    schema: Type.String({
      maxLength: MAX_WEBHOOK_URL,
      description:
        'Of a durable job (`Prefer: respond-async`, PUT /jobs/{id}): the https:// address that gets a signed POST when the job has ended (docs/webhooks.md).'
    }),
    handling: true,
    openai: true
  }
} as const satisfies Record<string, Parameter>

type Table = typeof parameters
export type ParameterName = keyof Table

/** The table as a list. Built once, because every request is checked against it. */
const NAMED = Object.entries(parameters as Record<string, Parameter>).map(([name, parameter]) => ({
  ...parameter,
  name
}))

/** The names of the parameters that have `Field`. */
export type NamesWith<Field extends keyof Parameter> = {
  [N in ParameterName]: Table[N] extends Record<Field, unknown> ? N : never
}[ParameterName]

/** The value of a parameter in a request. */
export type ValueOf<N extends ParameterName> = Static<Table[N]['schema']>

/** The parameters that have `field`, with their names, in table order. */
export function parametersWith<Field extends keyof Parameter>(
  field: Field
): (Parameter & { [F in Field]-?: NonNullable<Parameter[F]> } & { readonly name: NamesWith<Field> })[] {
  return NAMED.filter((parameter) => parameter[field] !== undefined) as never
}

type Limited = NamesWith<'limit'>

/** The limits in HELLO. Older workers do not send the optional ones. */
export type ModelLimits = {
  readonly [N in Limited as Table[N] extends { neutral: number } ? never : Table[N]['limit']]: number
} & {
  readonly [N in Limited as Table[N] extends { neutral: number } ? Table[N]['limit'] : never]?: number
} & {
  /** Chunks of a prompt; absent means 1. */
  readonly max_chunks?: number
  /** LoRAs of an image; absent means 0. */
  readonly max_loras?: number
  /** ControlNets and T2I-Adapters of an image; absent means 0. */
  readonly max_controls?: number
}

type InPreset = NamesWith<'preset'>

/** Values of a request that belong together, under the name that requests give as `preset`. */
export type Preset = { readonly name: string } & {
  readonly [N in Exclude<InPreset, NamesWith<'omittable'>>]: ValueOf<N>
} & { readonly [N in Extract<InPreset, NamesWith<'omittable'>>]?: ValueOf<N> }

/** The schemas of a preset's properties, bare. Those that a request may omit are optional. */
export function presetProperties(): Record<string, TSchema> {
  const properties = parametersWith('preset').map(({ name, schema, omittable }) => [
    name,
    omittable === true ? Type.Optional(bare(schema)) : bare(schema)
  ])
  return { name: Type.String(), ...Object.fromEntries(properties) }
}

/** The largest value of a parameter that the model accepts; Infinity if unlimited. */
export function mostOf({ limit, neutral = Infinity }: Parameter, limits: ModelLimits): number {
  return limit === undefined ? Infinity : Number((limits as Partial<Record<string, number>>)[limit] ?? neutral)
}

/** The operator's defaults, which override the model's; undefined for none. */
export type Defaults = { readonly [N in NamesWith<'option'>]: ValueOf<N> | undefined }

/** The neutral values of all parameters that have one. */
export const NEUTRAL = Object.fromEntries(parametersWith('neutral').map(({ name, neutral }) => [name, neutral])) as {
  readonly [N in NamesWith<'neutral'>]: ValueOf<N>
}

/** The properties of a request. */
export type RequestProperties = {
  [N in ParameterName]: Table[N] extends { required: true } ? Table[N]['schema'] : TOptional<Table[N]['schema']>
}

export function requestProperties(): RequestProperties {
  return Object.fromEntries(
    NAMED.map(({ name, schema, required }) => [name, required === true ? schema : Type.Optional(schema)])
  ) as unknown as RequestProperties
}

/** A schema's type, enum and items without its limits, for values that the server itself sends. */
export function bare<S extends TSchema>(schema: S): TUnsafe<Static<S>> {
  const { type, enum: values, items } = schema as { type?: string; enum?: readonly unknown[]; items?: TSchema }
  return Type.Unsafe({
    type,
    ...(values === undefined ? {} : { enum: values }),
    ...(items === undefined ? {} : { items: bare(items) })
  })
}

/** Properties of an object with all of these parameters, each as `bare`. */
export function bareProperties<N extends ParameterName>(
  list: readonly (Parameter & { readonly name: N })[]
): { [K in N]: TUnsafe<ValueOf<K>> } {
  return Object.fromEntries(list.map(({ name, schema }) => [name, bare(schema)])) as { [K in N]: TUnsafe<ValueOf<K>> }
}
