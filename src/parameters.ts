import { Type, type Static, type TOptional, type TSchema, type TUnsafe } from 'typebox'
import { OutputFormat } from './schemas/format.js'

/** The longest prompt in UTF-16 units, as in OpenAI's API. 77 tokens are seldom over 500; more is accepted to be cut, or to be told where it would be. */
export const MAX_PROMPT_LENGTH = 32_000

/** One parameter of a request for images, and all that there is to say of it. */
export interface Parameter {
  /** Its form in POST /generate. */
  readonly schema: TSchema
  /** A request must have it. */
  readonly required?: true
  /** What it is where neither the request nor the operator nor the model says anything. */
  readonly fallback?: string | number
  /**
   * The value with which it does nothing; also its fallback. Recipes and messages to workers leave it out then, so older
   * readers know them.
   */
  readonly neutral?: number
  /** The operator's default, read from the option `key`. Without `neutral` the model has a default too, under the same name in HELLO. */
  readonly setting?: { readonly key: string; readonly value?: string; readonly doc: string }
  /** The name of the largest value that the model takes, among the limits in HELLO. Missing there, it is `neutral`. */
  readonly limit?: string
  /** The worker's feature that other values than `neutral` need. */
  readonly feature?: string
  /** Why only `neutral` is allowed where the limit or the feature is missing. */
  readonly unable?: string
  /** Whether each recipe has it, or only one that it decides; or its form there, where that is another one. */
  readonly recipe?: 'always' | 'where decided' | TSchema
  /** Its name among the settings that AUTOMATIC1111's web UI writes into a file, where it is not one of theirs. */
  readonly label?: string
  /** Whether /v1 takes it too, under the same name; or its form there. */
  readonly openai?: true | TSchema
  /** Its name in a GENERATE message. */
  readonly wire?: string
}

const size = { minimum: 8, maximum: 8192 }
const share = { minimum: 0, maximum: 1 }

/**
 * All parameters of a request for images, in the order of a recipe. The request, the recipe, the extras of /v1, the operator's
 * defaults, /health, the OpenAPI document and the message to the worker are made from this table; docs/extending.md shows how
 * to add one.
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
  negative_prompt: {
    schema: Type.String({
      maxLength: MAX_PROMPT_LENGTH,
      description:
        "What the image is to stay away from. Used when guidance_scale > 1. An empty text is the same as none, diffusers' `negative_prompt=None`: zero embeddings where the model has force_zeros_for_empty_prompt, as SDXL base does."
    }),
    setting: { key: 'defaultNegativePrompt', doc: "Negative prompt of requests without one. Default: the model's." },
    recipe: 'always',
    openai: true
  },
  seed: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 4_294_967_295,
      description:
        'Decides the noise. The same request with the same seed gives the same image. Random when left out, and always returned.'
    }),
    recipe: 'always',
    openai: Type.Integer({
      minimum: -1,
      maximum: 4_294_967_295,
      description: 'As in POST /generate; -1 is a random one.'
    })
  },
  num_inference_steps: {
    schema: Type.Integer({ minimum: 1, maximum: 1000, description: 'Denoising steps.' }),
    setting: {
      key: 'defaultSteps',
      doc: "num_inference_steps of requests without it. Default: the model's (SDXL base: 40)."
    },
    limit: 'max_steps',
    recipe: 'always',
    openai: true,
    wire: 'steps'
  },
  guidance_scale: {
    schema: Type.Number({ minimum: 0, maximum: 100, description: 'Classifier-free guidance; 1 or less turns it off.' }),
    setting: {
      key: 'defaultGuidanceScale',
      doc: "guidance_scale of requests without it. Default: the model's (SDXL base: 5.0)."
    },
    limit: 'max_guidance_scale',
    recipe: 'always',
    openai: true,
    wire: 'guidance'
  },
  scheduler: {
    schema: Type.String({ maxLength: 64, description: 'Sampler, for example euler or dpmpp_2m; /health lists them.' }),
    setting: { key: 'defaultScheduler', value: 'name', doc: "scheduler of requests without it. Default: the model's." },
    recipe: 'always',
    openai: true,
    wire: 'scheduler'
  },
  width: {
    schema: Type.Integer({
      ...size,
      description: 'Pixels. A size that the model has compiled programs for; /health lists them.'
    }),
    setting: {
      key: 'defaultWidth',
      value: 'pixels',
      doc: "width of requests without it. Default: the model's (SDXL base: 1024)."
    },
    recipe: 'always',
    wire: 'width'
  },
  height: {
    schema: Type.Integer({ ...size, description: 'Pixels.' }),
    setting: {
      key: 'defaultHeight',
      value: 'pixels',
      doc: "height of requests without it. Default: the model's (SDXL base: 1024)."
    },
    recipe: 'always',
    wire: 'height'
  },
  output_format: {
    schema: Type.Unsafe<Static<typeof OutputFormat>>({
      ...OutputFormat,
      description: 'File format. Default: the one that Accept names, else png.'
    }),
    fallback: 'png',
    recipe: 'always'
  },
  quality: {
    schema: Type.Integer({
      minimum: 1,
      maximum: 100,
      description: 'Quality of jpeg and webp; png loses nothing. Default: 90.'
    }),
    // diffusers and Pillow have no common default; this one is safe for pictures with hard edges.
    fallback: 90,
    recipe: 'where decided'
  },
  truncate: {
    schema: Type.Boolean({ description: 'Accept a prompt that is too long and use its first 77 tokens.' }),
    recipe: Type.Literal(true, { description: 'A prompt was cut to fit.' })
  },
  guidance_start: {
    schema: Type.Number({
      ...share,
      description: 'Share of the steps before which guidance is left out, so that they cost half.'
    }),
    neutral: 0,
    setting: {
      key: 'defaultGuidanceStart',
      doc: 'guidance_start of requests without it: the share of the steps before which guidance is left out.'
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
        'Share of the steps after which guidance is left out; at least guidance_start. Of N steps, counted from 0, those from ⌊guidance_start·N⌋ to before ⌊guidance_end·N⌋ are guided.'
    }),
    neutral: 1,
    setting: {
      key: 'defaultGuidanceEnd',
      doc: 'guidance_end of requests without it: the share of the steps after which guidance is left out.'
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
        'Only every so manieth step computes all of the model, the others its top level over what the last whole one found below (DeepCache). At most the limit in GET /health.'
    }),
    neutral: 1,
    setting: {
      key: 'defaultCacheInterval',
      doc: 'cache_interval of requests without it: only every so manieth step computes all of the model. Above 1 the workers must allow it (their MAX_CACHE_INTERVAL).'
    },
    limit: 'max_cache_interval',
    unable: 'the workers compute all of each step',
    recipe: 'where decided',
    label: 'Cache interval',
    openai: true,
    wire: 'cache_interval'
  },
  num_images: {
    schema: Type.Integer({
      minimum: 1,
      maximum: 64,
      description: 'How many images to make; image i has the seed + i. Several come as JSON, multipart/mixed or events.'
    }),
    fallback: 1,
    limit: 'max_images'
  },
  timeout: {
    schema: Type.Number({
      exclusiveMinimum: 0,
      maximum: 86_400,
      description:
        "Seconds that the client will wait: a request that cannot be done by then is refused at once, one that is not is stopped and answered 504. At most the server's own limit."
    })
  },
  preview_interval: {
    schema: Type.Integer({
      minimum: 0,
      maximum: 1000,
      description: 'Steps between previews in the event stream; 0, the default, for none.'
    })
  }
} as const satisfies Record<string, Parameter>

type Table = typeof parameters
export type ParameterName = keyof Table

/** The names of the parameters of which the table says `Field`. */
export type NamesWith<Field extends keyof Parameter> = {
  [N in ParameterName]: Table[N] extends Record<Field, unknown> ? N : never
}[ParameterName]

/** The value of a parameter in a request. */
export type ValueOf<N extends ParameterName> = Static<Table[N]['schema']>

/** The names and entries of the parameters of which the table says `field`, in its order. */
export function parametersWith<Field extends keyof Parameter>(
  field: Field
): (Parameter & { [F in Field]-?: NonNullable<Parameter[F]> } & { readonly name: NamesWith<Field> })[] {
  const entries = Object.entries(parameters) as unknown as [NamesWith<Field>, Parameter][]
  return entries
    .filter(([, parameter]) => parameter[field] !== undefined)
    .map(([name, parameter]) => ({ ...parameter, name }) as never)
}

type Limited = NamesWith<'limit'>

/** What a model takes at most, as its workers say it. Older workers do not know the optional ones. */
export type ModelLimits = {
  readonly [N in Limited as Table[N] extends { neutral: number } ? never : Table[N]['limit']]: number
} & {
  readonly [N in Limited as Table[N] extends { neutral: number } ? Table[N]['limit'] : never]?: number
}

/** The largest value of a parameter that the model takes; Infinity for none. */
export function mostOf({ limit, neutral = Infinity }: Parameter, limits: ModelLimits): number {
  return limit === undefined ? Infinity : ((limits as Partial<Record<string, number>>)[limit] ?? neutral)
}

/** The operator's defaults, which go before the model's; undefined for none. */
export type Defaults = { readonly [N in NamesWith<'setting'>]: ValueOf<N> | undefined }

/** The values with which the parameters that have such a value do nothing. */
export const NEUTRAL = Object.fromEntries(parametersWith('neutral').map(({ name, neutral }) => [name, neutral])) as {
  readonly [N in NamesWith<'neutral'>]: ValueOf<N>
}

/** The properties of a request. */
export type RequestProperties = {
  [N in ParameterName]: Table[N] extends { required: true } ? Table[N]['schema'] : TOptional<Table[N]['schema']>
}

export function requestProperties(): RequestProperties {
  const entries = Object.entries(parameters) as [ParameterName, Parameter][]
  return Object.fromEntries(
    entries.map(([name, { schema, required }]) => [name, required === true ? schema : Type.Optional(schema)])
  ) as RequestProperties
}

/** A value's form alone: what the server itself says is within its limits. */
export function bare<S extends TSchema>(schema: S): TUnsafe<Static<S>> {
  const { type, enum: values } = schema as { type?: string; enum?: readonly unknown[] }
  return Type.Unsafe({ type, ...(values === undefined ? {} : { enum: values }) })
}

/** The bare properties of an object that has all of these parameters. */
export function bareProperties<N extends ParameterName>(
  list: readonly (Parameter & { readonly name: N })[]
): { [K in N]: TUnsafe<ValueOf<K>> } {
  return Object.fromEntries(list.map(({ name, schema }) => [name, bare(schema)])) as { [K in N]: TUnsafe<ValueOf<K>> }
}
