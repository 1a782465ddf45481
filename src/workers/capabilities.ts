import { mostOf, type Parameter, parametersWith, type Preset } from '../parameters.js'
import type { Job } from './job.js'
import type { Control, Embedding, Hello, IpAdapter, Lora, TokenIds } from './protocol.js'
import { includesSize, unionOfSizes } from './sizes.js'

/** The optional features and the limits of one or more workers. */
type Supported = Pick<Hello, 'features' | 'limits'>

/** What the workers of a model can do together. */
export interface Capabilities extends Pick<Hello, 'model' | 'sizes' | 'schedulers' | 'defaults' | 'limits'> {
  /** Sizes that at least one worker is still compiling and none has compiled; `coming` on the wire. */
  readonly compiling: Hello['sizes']
  readonly features: string[]
  /** Features that at least one worker is still compiling and none has. */
  readonly comingFeatures: string[]
  /** The most chunks of a prompt once everything is compiled; at least the limit of now. */
  readonly comingMaxChunks: number
  /** Each name once: of several workers' files, that of the worker which joined or changed last. */
  readonly loras: Lora[]
  /** As `loras`. */
  readonly embeddings: Embedding[]
  /** As `loras`: ControlNets and T2I-Adapters. */
  readonly controls: Control[]
  /** As `loras`; `ip_adapters` on the wire. */
  readonly ipAdapters: IpAdapter[]
  /** Schedulers that take no `timestep_spacing`. */
  readonly unspaced: readonly string[]
  /** Schedulers that run the UNet twice in each step but the last; `second_order` on the wire. */
  readonly secondOrder: readonly string[]
  readonly presets: readonly Preset[]
}

/** Parameters that older workers ignore. Such a worker would silently make a different image. */
const OPTIONAL = parametersWith('wire').filter(({ neutral, omittable }) => neutral !== undefined || omittable)

/** The limits of the optional parameters. All other limits are the same for every worker of a model. */
const OPTIONAL_LIMITS: ReadonlySet<string | undefined> = new Set([
  'max_chunks',
  'max_loras',
  'max_controls',
  ...OPTIONAL.map(({ limit }) => limit)
])

/** The feature of workers whose model takes the guidance scale as an input. */
export const GUIDANCE_EMBEDDING = 'guidance_embedding'

/** The feature of workers whose model changes pictures and makes none from text alone, as SDXL's refiner. */
export const PICTURES_ONLY = 'pictures_only'

/** The feature of workers that apply the weights in a prompt. */
export const PROMPT_WEIGHTS = 'prompt_weights'

/** The feature of workers that have compiled the programs for LoRAs. */
const LORAS = 'loras'

/** The feature of workers whose programs take the vectors of embeddings. */
export const EMBEDDINGS = 'embeddings'

/** The feature of workers that give an image's latents, and begin images from latents of any size. */
export const LATENTS = 'latents'

/** The feature that each role of a picture needs. A worker without it does not read messages with pictures. */
export const PICTURE_FEATURES = {
  image: 'image_to_image',
  mask: 'inpainting',
  latents: LATENTS,
  control: 'controls',
  ip_adapter: 'ip_adapters'
} as const

/** Whether the worker that sent this HELLO can run the job. */
export function canRun(hello: Hello, job: Pick<Job, 'width' | 'height'> & Partial<Job>): boolean {
  return (
    includesSize(hello.sizes, job) &&
    canEncode(hello, job) &&
    hasLoras(hello, job) &&
    hasEmbeddings(hello, job) &&
    hasControls(hello, job) &&
    hasIpAdapters(hello, job) &&
    takesPictures(hello, job) &&
    (job.output_type === undefined || (hello.features ?? []).includes(LATENTS)) &&
    OPTIONAL.every((parameter) => allows(hello, parameter, (job as Record<string, unknown>)[parameter.wire]))
  )
}

/** A worker's HELLO once it has compiled everything. */
function whole(hello: Hello): Hello {
  const { sizes, coming = [], features = [], coming_features = [], limits, coming_max_chunks = 1 } = hello
  return {
    ...hello,
    sizes: [...sizes, ...coming],
    features: [...features, ...coming_features],
    limits: { ...limits, max_chunks: Math.max(limits.max_chunks ?? 1, coming_max_chunks) }
  }
}

/** Whether one of several workers can run a job, if not now then when it has compiled everything. */
export function chanceOf(hellos: readonly Hello[], job: Job): 'now' | 'later' | 'never' {
  if (hellos.some((hello) => canRun(hello, job))) return 'now'
  return hellos.some((hello) => canRun(whole(hello), job)) ? 'later' : 'never'
}

/**
 * The request's field without which one of the workers could run the job, for a job of which each part alone can be run
 * by some worker. Undefined if more than one field is in the way.
 */
export function fieldInTheWay(hellos: readonly Hello[], job: Job): string | undefined {
  const reduced: [field: string, job: Job][] = [
    ['loras', { ...job, loras: [] }],
    ['embeddings', { ...job, embeddings: [] }],
    ['controls', withoutPictures({ ...job, controls: [] }, 'control')],
    ['ip_adapters', withoutPictures({ ...job, ip_adapters: [] }, 'ip_adapter')],
    ['hires', withoutLatents(job)],
    ['mask_image', withoutPictures(job, 'mask')],
    ['image', withoutPictures(job, 'image', 'mask')],
    ...OPTIONAL.map(({ name, wire }): [string, Job] => [name, { ...job, [wire]: undefined }]),
    ['prompt_syntax', withPrompts(job, ({ ids, ids_2 }) => ({ ids, ids_2 }))],
    ['prompt', withPrompts(job, (tokens) => ({ ...tokens, ids: tokens.ids.slice(0, 1) }))]
  ]
  return reduced.find(([, less]) => chanceOf(hellos, less) !== 'never')?.[0]
}

/** Without what a second pass from latents adds to either pass. */
function withoutLatents(job: Job): Job {
  const { output_type: _type, latents_upscaler: _upscaler, ...rest } = job
  return withoutPictures(rest, 'latents')
}

function withoutPictures(job: Job, ...roles: (keyof typeof PICTURE_FEATURES)[]): Job {
  return { ...job, pictures: job.pictures?.filter(({ role }) => !roles.includes(role)) ?? [] }
}

function withPrompts(job: Job, change: (tokens: TokenIds) => TokenIds): Job {
  return { ...job, prompt: change(job.prompt), negative: job.negative === null ? null : change(job.negative) }
}

/** Whether the worker can encode the job's prompts: their length and their weights. */
function canEncode({ features = [], limits, tokenizers }: Hello, { prompt, negative }: Partial<Job>): boolean {
  const prompts = [prompt, negative].filter((each) => each != null)
  const most = limits.max_chunks ?? 1
  if (prompts.some(({ ids }) => ids.length > tokenizers[0]!.max_length * most)) return false
  return features.includes(PROMPT_WEIGHTS) || !prompts.some(needsWeights)
}

/** Whether the worker has the job's LoRAs: the same files, and not only the names. */
function hasLoras({ features = [], loras = [], limits }: Hello, { loras: wanted = [] }: Partial<Job>): boolean {
  if (wanted.length === 0) return true
  if (!features.includes(LORAS) || wanted.length > (limits.max_loras ?? 0)) return false
  return haveAll(loras, wanted)
}

/** The same for its embeddings. */
function hasEmbeddings({ features = [], embeddings = [] }: Hello, { embeddings: wanted = [] }: Partial<Job>): boolean {
  return wanted.length === 0 || (features.includes(EMBEDDINGS) && haveAll(embeddings, wanted))
}

/** The same for its ControlNets and T2I-Adapters. */
function hasControls(
  { features = [], controls = [], limits }: Hello,
  { controls: wanted = [] }: Partial<Job>
): boolean {
  if (wanted.length === 0) return true
  return (
    features.includes(PICTURE_FEATURES.control) &&
    wanted.length <= (limits.max_controls ?? 0) &&
    haveAll(controls, wanted)
  )
}

/** The same for its IP-Adapters. */
function hasIpAdapters(
  { features = [], ip_adapters: adapters = [] }: Hello,
  { ip_adapters: wanted = [] }: Partial<Job>
): boolean {
  return wanted.length === 0 || (features.includes(PICTURE_FEATURES.ip_adapter) && haveAll(adapters, wanted))
}

/** A file of the operator's. */
type File = Pick<Lora, 'name' | 'digest'>

function haveAll(files: readonly File[], wanted: readonly File[]): boolean {
  return wanted.every(({ name, digest }) => files.some((file) => file.name === name && file.digest === digest))
}

/** Whether the worker takes pictures of the job's roles. */
function takesPictures({ features = [] }: Hello, { pictures = [] }: Partial<Job>): boolean {
  return pictures.every(({ role }) => features.includes(PICTURE_FEATURES[role]))
}

/** Whether a prompt needs PROMPT_WEIGHTS. */
export function needsWeights({ weights, weights_2, pooled_ids_2 }: TokenIds): boolean {
  return weights !== undefined || weights_2 !== undefined || pooled_ids_2 !== undefined
}

/** Whether workers accept any value of a parameter other than its neutral one. */
export function supports({ features = [], limits }: Supported, parameter: Parameter): boolean {
  const { neutral = -Infinity, feature, limit } = parameter
  if (feature !== undefined && !features.includes(feature)) return false
  return limit === undefined || mostOf(parameter, limits) > Number(neutral)
}

/** Whether workers accept this value of a parameter. Undefined counts as the neutral value. */
function allows(supported: Supported, parameter: Parameter, value: unknown): boolean {
  if (value === parameter.neutral || value === undefined) return true
  if (!supports(supported, parameter)) return false
  return parameter.limit === undefined || Number(value) <= mostOf(parameter, supported.limits)
}

/**
 * The union of what the workers of one model can do.
 *
 * @param latest the HELLO whose defaults, schedulers and presets count
 */
export function mergeCapabilities(
  latest: Hello,
  all: readonly Pick<
    Hello,
    | 'sizes'
    | 'coming'
    | 'coming_features'
    | 'coming_max_chunks'
    | 'features'
    | 'limits'
    | 'loras'
    | 'embeddings'
    | 'controls'
    | 'ip_adapters'
  >[]
): Capabilities {
  const { model, schedulers, defaults, second_order: secondOrder = [], unspaced = [], presets = [] } = latest
  const sizes = unionOfSizes(all.map((hello) => hello.sizes))
  const compiling = unionOfSizes(all.map(({ coming = [] }) => coming))
  const features = [...new Set(all.flatMap((hello) => hello.features ?? []))]
  const comingFeatures = new Set(all.flatMap(({ coming_features = [] }) => coming_features))
  return {
    model,
    sizes,
    compiling: compiling.filter(([width, height]) => !includesSize(sizes, { width, height })),
    schedulers,
    unspaced,
    secondOrder,
    presets,
    defaults,
    loras: unionOf([latest, ...all].map(({ loras = [] }) => loras)),
    embeddings: unionOf([latest, ...all].map(({ embeddings = [] }) => embeddings)),
    controls: unionOf([latest, ...all].map(({ controls = [] }) => controls)),
    ipAdapters: unionOf([latest, ...all].map(({ ip_adapters = [] }) => ip_adapters)),
    features,
    comingFeatures: [...comingFeatures].filter((name) => !features.includes(name)),
    comingMaxChunks: Math.max(
      ...all.map(({ limits, coming_max_chunks = 1 }) => Math.max(limits.max_chunks ?? 1, coming_max_chunks))
    ),
    limits: mergeLimits(all)
  }
}

function unionOf<F extends File>(lists: readonly (readonly F[])[]): F[] {
  const byName = new Map<string, F>()
  for (const file of lists.flat()) if (!byName.has(file.name)) byName.set(file.name, file)
  return [...byName.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

function mergeLimits(all: readonly Pick<Hello, 'limits'>[]): Hello['limits'] {
  const merged: Record<string, number> = {}
  for (const { limits } of all) {
    for (const [name, most] of Object.entries(limits) as [string, number][]) {
      merged[name] = OPTIONAL_LIMITS.has(name) ? Math.max(most, merged[name] ?? 0) : (merged[name] ?? most)
    }
  }
  return merged as unknown as Hello['limits']
}
