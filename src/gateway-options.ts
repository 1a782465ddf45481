import { existsSync } from 'node:fs'
import { tmpdir, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { budgetWithin, MemoryBudget, type Part } from './memory.js'
import type { Defaults } from './parameters.js'
import { parseValkeyAddress, type ValkeyAddress } from './valkey-address.js'
import { addressError, modelError } from './model-folder.js'
import { defaultOptions, defaultsIn } from './default-options.js'
import {
  OptionError,
  flag,
  type Option,
  type OptionValues,
  helpText,
  number,
  oneOf,
  optional,
  parseNumber,
  readOptions,
  secret,
  text
} from './options.js'
import { workerEndpoint } from './worker-endpoint.js'
import { CURVE_KEY } from './z85.js'
import { parseLocation } from './results/location.js'
import { parseNetworks, type Network } from './webhooks/addresses.js'
import { parseWebhookHosts, type WebhookHost } from './webhooks/hosts.js'
import { isFile, parseSecrets } from './webhooks/secrets.js'
import { MAX_WORKERS, type ModelEntry, parseModels } from './models-option.js'

/** The folder that holds package.json, models/ and python-worker/. */
export const packageRoot = fileURLToPath(new URL('..', import.meta.url))

const whole = { integer: true }
/** Smallest MEMORY_BUDGET, in bytes. A smaller one cannot hold two images of 1024x1024. */
const LEAST_BUDGET = 16 * 2 ** 20
/** JOB_BYTES in Valkey. */
const DEFAULT_JOB_BYTES = 2 ** 30

/** Seconds. */
const DEFAULT_JOB_TTL = 86_400
const seconds = { min: 0.05, max: 86_400 }

/**
 * Every option of the gateway, in the order of `--help`. Each takes the value of its flag (`--kebab-case`), else of its
 * environment variable, else the default given here.
 */
export const options = {
  host: text('HOST', 'localhost', 'Address to listen on; 0.0.0.0 for every interface.'),
  port: number('PORT', 8000, { min: 0, max: 65_535, ...whole }, 'Port to listen on; 0 picks a free one.'),
  adminPort: optional({
    env: 'ADMIN_PORT',
    value: 'integer',
    doc: 'Second port for /metrics and the probes, which the first port then does not serve; /health is on both. Default: none.',
    parse: (value: string) => parseNumber(value, { min: 0, max: 65_535, ...whole })
  }),
  pickerMetrics: flag(
    'PICKER_METRICS',
    false,
    "Whether /metrics/picker on the first port has queue, running requests and LoRAs in the names that endpoint pickers read, such as the Gateway API inference extension's and llm-d's (docs/metrics.md): true or false."
  ),
  logLevel: oneOf(
    'LOG_LEVEL',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Lowest level to log.'
  ),
  logPrompts: flag('LOG_PROMPTS', false, "Whether to log each request's prompts: true or false."),
  logFormat: oneOf('LOG_FORMAT', ['json', 'pretty'], 'json', 'json for machines, pretty for a terminal.'),

  model: text(
    'MODEL',
    join(packageRoot, 'models/demo'),
    "Model: a folder in diffusers' layout, a single .safetensors file, or a folder with one such file. The gateway reads its two tokenizers, a worker that it starts reads all of it. `npm start` also takes a Hugging Face model, org/name or org/name/file.safetensors, with @revision, and downloads it into .cache/models."
  ),
  models: optional({
    env: 'MODELS',
    value: 'list|file',
    doc: 'Several models instead of MODEL: NAME=PATH,NAME=PATH, or a JSON file (docs/several-models.md). Requests choose one by its name; the first is the default. Each has its own workers.',
    parse: parseModels
  }),
  vae: optional({
    env: 'VAE',
    value: 'path',
    doc: "VAE that replaces the model's, in the workers that the gateway starts: a diffusers folder or a .safetensors file. `npm start` also takes a Hugging Face name.",
    parse: (value: string) => resolve(value)
  }),
  unet: optional({
    env: 'UNET',
    value: 'path',
    doc: "UNet that replaces the model's, such as SDXL-Lightning's, in the workers that the gateway starts: a diffusers folder or a .safetensors file. `npm start` also takes a Hugging Face name.",
    parse: (value: string) => resolve(value)
  }),
  refiner: optional({
    env: 'REFINER',
    value: 'path',
    doc: "SDXL's refiner, which does the last steps of images with denoising_end, in the workers that the gateway starts: a diffusers folder or a .safetensors file. `npm start` also takes a Hugging Face name.",
    parse: (value: string) => resolve(value)
  }),
  worker: oneOf(
    'WORKER',
    ['spawn', 'connect'],
    'spawn',
    'spawn: the gateway starts and restarts its workers. connect: someone else starts the workers, and they connect to WORKER_ENDPOINT.'
  ),
  workers: number(
    'WORKERS',
    1,
    { min: 1, max: MAX_WORKERS, ...whole },
    'Number of workers to start for each model (WORKER=spawn) or to expect in all (WORKER=connect, used only for metrics and alerts). One worker drives all chips of the host.'
  ),
  holdRequests: flag(
    'HOLD_REQUESTS',
    false,
    'Whether requests wait for a worker, as long as their deadline allows, while none is connected: true or false. For WORKER=connect, where workers come and go with the load. Waiting requests count towards QUEUE_LIMIT.'
  ),
  workerEndpoint: text(
    'WORKER_ENDPOINT',
    '',
    "ZeroMQ address that the gateway binds for its workers: ipc://PATH, or tcp://HOST:PORT, which must be loopback unless CURVE_SECRET_KEY and CURVE_WORKER_KEYS are set. A socket file has mode 0600, so workers must run as the gateway's user. The gateway replaces a socket that a killed gateway left behind, and no other file. Empty: a fresh ipc socket in the temporary folder (WORKER=spawn only)."
  ),
  curveSecretKey: optional({
    env: 'CURVE_SECRET_KEY',
    value: 'z85|@file',
    doc: 'CURVE secret key of the gateway (40 characters of Z85), or @FILE for a file that contains it. Workers get its public key.',
    secret: true,
    parse: parseKey
  }),
  curveWorkerKeys: optional({
    env: 'CURVE_WORKER_KEYS',
    value: 'file',
    doc: "File with the public CURVE keys of the workers, one a line, read again at each connection; name=NAME after a key lets its workers have that name only, name=BEGINNING* names that begin so. Other peers are refused. Default: whoever knows the gateway's public key may connect.",
    parse: (value: string) => resolve(value)
  }),
  engine: oneOf(
    'ENGINE',
    ['sdxl', 'fake', 'maxdiffusion'],
    'sdxl',
    "Engine of the workers that the gateway starts: sdxl, fake (synthetic pictures, for tests and benchmarks), or maxdiffusion (MaxDiffusion's UNet, where it is installed: docs/maxdiffusion.md)."
  ),
  python: optional({
    env: 'PYTHON',
    value: 'path',
    doc: 'Python that runs the workers that the gateway starts. Default: python-worker/.venv (made by `npm run setup`) if it exists, else python3 from the PATH.',
    parse: (value: string) => value
  }),
  workerArgs: {
    env: 'WORKER_ARGS',
    doc: 'Extra arguments for the workers that the gateway starts, separated by spaces (see `python -m easel_worker --help`).',
    value: 'args',
    fallback: [],
    parse: (value) => value.split(/\s+/).filter(Boolean)
  } as Option<string[]>,

  ...defaultOptions,

  otlpEndpoint: optional({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    value: 'url',
    doc: 'OTLP/HTTP collector for traces, for example http://otel-collector:4318. The OTEL_* variables of the OpenTelemetry SDK for sampling and headers also apply. Default: no traces.',
    parse: parseUrl
  }),
  otelServiceName: text('OTEL_SERVICE_NAME', 'easel', 'Name of the service in traces.'),

  queueLimit: number(
    'QUEUE_LIMIT',
    64,
    { min: 1, max: 100_000, ...whole },
    'Most requests in flight for each model, waiting or running. Further ones are refused with 429.'
  ),
  requestTimeout: number(
    'REQUEST_TIMEOUT',
    300,
    seconds,
    'Seconds after which a request is stopped with 504. A client may ask for less.'
  ),
  resumeWindow: number(
    'RESUME_WINDOW',
    10,
    { min: 0, max: 3600 },
    'Seconds that a request with an Idempotency-Key keeps running after its last client has left, so that a retry can join it.'
  ),
  idempotencyTtl: number(
    'IDEMPOTENCY_TTL',
    600,
    seconds,
    'Seconds that the answer to a request with an Idempotency-Key is kept.'
  ),
  memoryBudget: optional({
    env: 'MEMORY_BUDGET',
    value: 'bytes',
    doc: "Most bytes that the gateway holds for clients: 1/8 for request bodies, 1/8 for decoded pictures that requests start from, 1/8 for answers kept for retries and durable jobs in memory, the rest for pixels, states of unfinished images that move to another worker, files and answers being read. Requests beyond it are refused with 503 MEMORY_FULL. Default: (M - 160 MiB) / 2, from 64 MiB to 2 GiB, where M is the container's memory limit or else the machine's memory.",
    parse: (value: string) => parseNumber(value, { min: LEAST_BUDGET, max: 2 ** 40, ...whole })
  }),
  idempotencyBytes: optional({
    env: 'IDEMPOTENCY_BYTES',
    value: 'bytes',
    doc: 'Most bytes of answers kept for retries. Default and maximum: an eighth of MEMORY_BUDGET.',
    parse: (value: string) => parseNumber(value, { min: 0, max: 2 ** 40, ...whole })
  }),
  jobStore: secret(
    text(
      'JOB_STORE',
      'memory',
      'Where durable jobs are kept (docs/jobs.md): memory, where they end with the gateway, or a Valkey server that several gateways may share, as valkey://[user:password@]host[:port][/db]; valkeys:// is over TLS.'
    )
  ),
  jobLimit: number(
    'JOB_LIMIT',
    10_000,
    { min: 1, max: 10_000_000, ...whole },
    'Most jobs in the store, ended ones and the lines of batches included. Further ones are refused with 503 JOBS_FULL. One access key may have half of them.'
  ),
  jobBytes: optional({
    env: 'JOB_BYTES',
    value: 'bytes',
    doc: 'Most bytes of files, batches and jobs, with their pictures, and with their images unless RESULTS has them. A job waits until its images fit. One access key may have half of them. Default: 1 GiB in Valkey; in memory a sixteenth of MEMORY_BUDGET, and at most an eighth.',
    parse: (value: string) => parseNumber(value, { min: 1_048_576, max: 2 ** 50, ...whole })
  }),
  jobTtl: optional({
    env: 'JOB_TTL',
    value: 'seconds',
    doc: 'Seconds that a job and its images, or a batch and its results, are kept after its end, and a file of POST /v1/files after it was sent. With RESULTS=file:// at most RESULTS_KEEP. Default: 86400 (a day), or RESULTS_KEEP if that is less.',
    parse: (value: string) => parseNumber(value, { min: 0.05, max: 31_536_000 })
  }),
  jobTimeout: number(
    'JOB_TIMEOUT',
    86_400,
    { min: 0.05, max: 31_536_000 },
    'Seconds after its submission at which a job or a batch that has not ended expires; a batch after a day at most. A client may ask for less. REQUEST_TIMEOUT limits each attempt.'
  ),
  jobClaimTimeout: number(
    'JOB_CLAIM_TIMEOUT',
    15,
    { min: 0.3, max: 3600 },
    'Seconds without a heartbeat after which the jobs of a gateway are given to others, and its requests no longer count for keys.'
  ),
  jobStoreCa: optional({
    env: 'JOB_STORE_CA',
    value: 'file',
    doc: "Certificates (PEM) of which one must have signed that of a valkeys:// server. Default: Node's.",
    parse: (value: string) => resolve(value)
  }),
  jobReplicas: number(
    'JOB_REPLICAS',
    0,
    { min: 0, max: 16, ...whole },
    'Replicas of the Valkey server that must have a job before its submission is answered. With 0, a job that was accepted just before a failover may be lost.'
  ),
  webhookHosts: {
    env: 'WEBHOOK_HOSTS',
    doc: 'Where webhooks of jobs may go on a server without ACCESS_KEYS, separated by spaces: hooks.example.com, *.example.com, hooks.example.com:8443; with https only, unless it says http://receiver.team.svc.cluster.local:8080 (docs/webhooks.md). With keys, webhook_hosts in their file says it for each. Empty: nowhere.',
    value: 'hosts',
    fallback: [],
    parse: (value: string) => parseWebhookHosts(value.split(/\s+/).filter(Boolean))
  } as Option<readonly WebhookHost[]>,
  webhookSecrets: optional({
    env: 'WEBHOOK_SECRETS',
    value: 'whsec|@file',
    doc: 'What signs webhooks: whsec_ and 24 to 64 bytes in base64, or @FILE for a file that contains it. Two, separated by a space or line, while one replaces the other: webhooks then have a signature of each.',
    secret: true,
    parse: parseWebhookSecrets
  }),
  webhookNetworks: {
    env: 'WEBHOOK_NETWORKS',
    doc: 'Private networks that have receivers of webhooks, as CIDRs separated by spaces, such as 10.0.0.0/8. Webhooks go to no other private or reserved address, whatever name it has.',
    value: 'networks',
    fallback: [],
    parse: parseNetworks
  } as Option<readonly Network[]>,
  accessKeys: optional({
    env: 'ACCESS_KEYS',
    value: 'file',
    doc: 'JSON file with the bearer keys for image requests and their limits. The server reloads it when it changes (docs/access.md). Default: no key required.',
    parse: (value: string) => value
  }),
  snapSizes: flag(
    'SNAP_SIZES',
    false,
    'Whether /v1 replaces a size that is not offered by the nearest offered one instead of refusing it: true or false.'
  ),
  corsOrigins: {
    env: 'CORS_ORIGINS',
    doc: 'Origins whose web pages may call the service, separated by spaces. Empty: only its own.',
    value: 'origins',
    fallback: [],
    parse: parseOrigins
  } as Option<string[]>,
  bodyLimit: number(
    'BODY_LIMIT',
    524_288,
    { min: 1024, max: 104_857_600, ...whole },
    'Largest request body in bytes, without the pictures in it. The longest allowed prompts take at most 384 KB, however they are escaped.'
  ),
  pictureLimit: number(
    'PICTURE_LIMIT',
    16_777_216,
    { min: 1024, max: 1_073_741_824, ...whole },
    'Largest file of a picture that a request starts from, in bytes.'
  ),
  picturePixels: number(
    'PICTURE_PIXELS',
    16_777_216,
    { min: 4096, max: 268_435_456, ...whole },
    'Most pixels of such a picture, width times height. Decoding takes up to 12 bytes a pixel, which MEMORY_BUDGET does not count (docs/capacity.md).'
  ),
  pictureDecoders: number(
    'PICTURE_DECODERS',
    1,
    { min: 1, max: 64, ...whole },
    'Most such pictures decoded at once. One takes 0.1 to 0.5 s at the largest size.'
  ),
  pictureDisk: number(
    'PICTURE_DISK',
    536_870_912,
    { min: 1024, max: 2 ** 40, ...whole },
    'Most bytes on the disk for such pictures, from all clients together. Further ones are refused with 503 MEMORY_FULL.'
  ),
  pictureFolder: optional({
    env: 'PICTURE_FOLDER',
    value: 'path',
    doc: 'Folder for such pictures while a request needs them. The files have no names, so they are gone when the process ends. Should not be in memory (tmpfs). The gateway does not start if it cannot write there. Default: the temporary folder.',
    parse: (value: string) => resolve(value)
  }),
  results: optional({
    env: 'RESULTS',
    value: 'location',
    doc: 'Where images are stored that /v1 answers as URLs, and those of durable jobs: file:///FOLDER, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX (docs/results.md). Default: nowhere; the URLs are data: URLs, and the images of jobs are in the job store.',
    secret: true,
    parse: parseLocation
  }),
  resultsUrlTtl: number(
    'RESULTS_URL_TTL',
    3600,
    { min: 1, max: 604_800, ...whole },
    'Seconds for which such a URL can be read. Buckets allow a week at most.'
  ),
  resultsKeep: number(
    'RESULTS_KEEP',
    86_400,
    { min: 1, max: 10 ** 9, ...whole },
    'Seconds that RESULTS=file:// keeps an image; not less than RESULTS_URL_TTL and JOB_TTL. Buckets have lifecycle rules of their own.'
  ),
  resultsDisk: number(
    'RESULTS_DISK',
    10_737_418_240,
    { min: 1024, max: 2 ** 50, ...whole },
    'Most bytes of all images of RESULTS=file://. Further ones are refused with 507 STORAGE_FULL.'
  ),
  resultsSecret: optional({
    env: 'RESULTS_SECRET',
    value: 'text',
    doc: 'Secret of 32 characters or more that signs the URLs of RESULTS=file://. Gateways that share the folder need the same one. Default: a new one at each start, with which earlier URLs end.',
    secret: true,
    parse: parseSecret
  }),
  publicUrl: optional({
    env: 'PUBLIC_URL',
    value: 'url',
    doc: 'What clients put before the paths of this server, such as https://images.example.com. URLs of RESULTS=file:// begin with it. Default: http:// and the Host that the client sent.',
    parse: parsePublicUrl
  }),
  receiveTimeout: number('RECEIVE_TIMEOUT', 30, seconds, 'Seconds within which a client must send its whole request.'),
  keepAliveTimeout: number(
    'KEEP_ALIVE_TIMEOUT',
    620,
    seconds,
    "Seconds that an idle connection stays open. Must exceed the idle timeout of the load balancer in front (Google's: 600 s). Otherwise the balancer may send a request into a closing connection and answer 502."
  ),
  connectionMaxAge: number(
    'CONNECTION_MAX_AGE',
    300,
    seconds,
    'Seconds after which a connection ends with its next answer (Connection: close), up to a fifth earlier, so that busy clients and load balancers also reach Pods that came later.'
  ),
  sendTimeout: number(
    'SEND_TIMEOUT',
    30,
    seconds,
    'Seconds within which a client must read 1 MiB of its answer, or the rest of it. A slower client is disconnected.'
  ),
  maxConnections: number(
    'MAX_CONNECTIONS',
    1024,
    { min: 1, max: 1_000_000, ...whole },
    'Most HTTP connections at a time. A further one replaces the connection that has been idle longest, or is closed if all are busy with a request. The limit is lower if the descriptor limit (ulimit -n) would not leave enough for workers. ADMIN_PORT has 64 connections of its own.'
  ),
  swapWait: number(
    'SWAP_WAIT',
    30,
    { min: 0, max: 86_400 },
    'Seconds that a model with work keeps a device that it shares while requests for another model wait (docs/several-models.md).'
  ),
  heartbeatInterval: number('HEARTBEAT_INTERVAL', 1, seconds, 'Seconds between heartbeats of a worker.'),
  heartbeatTimeout: number(
    'HEARTBEAT_TIMEOUT',
    10,
    seconds,
    'Seconds of silence after which a worker counts as dead. This timeout, STEP_TIMEOUT and START_TIMEOUT exclude time in which the gateway itself was stalled, and may end up to two HEARTBEAT_INTERVALs late.'
  ),
  stepTimeout: number(
    'STEP_TIMEOUT',
    120,
    seconds,
    'Seconds without a finished step, while rows are in use, after which a worker counts as hung.'
  ),
  startTimeout: number(
    'START_TIMEOUT',
    3600,
    seconds,
    'Seconds that a worker may take to load the model and compile before it sends HELLO.'
  ),
  restartBackoff: number(
    'RESTART_BACKOFF',
    0.5,
    seconds,
    'Seconds before a dead worker is restarted; doubled after each consecutive death, up to 30.'
  ),
  drainTimeout: number(
    'DRAIN_TIMEOUT',
    25,
    seconds,
    'Seconds that running requests may take after SIGTERM. Closing takes up to 4 more; keep the sum below the grace period of the platform (GKE spot nodes: 15 by default).'
  ),
  pngCompression: number('PNG_COMPRESSION', 7, { min: 0, max: 9, ...whole }, 'zlib level of PNG files.'),
  imageEncoders: optional({
    env: 'IMAGE_ENCODERS',
    value: 'integer',
    doc: "Most image files encoded at once. Default: number of cores + 1, so that no core idles between two images. Above 4, also raise Node's UV_THREADPOOL_SIZE.",
    parse: (value: string) => parseNumber(value, { min: 1, max: 1024, ...whole })
  }),
  embedRecipe: flag(
    'EMBED_RECIPE',
    true,
    'Whether images and headers carry the whole recipe, with its prompts: true or false.'
  )
} satisfies Record<string, Option<unknown>>

export { OptionError, flagOf, HelpRequested, VersionRequested } from './options.js'

/** The gateway's options: parsed once, checked, frozen. */
export type GatewayOptions = Readonly<
  Omit<
    OptionValues<typeof options>,
    | 'python'
    | 'memoryBudget'
    | 'pictureFolder'
    | 'jobBytes'
    | 'jobTtl'
    | 'jobStore'
    | 'model'
    | 'models'
    | 'vae'
    | 'unet'
    | 'refiner'
    | keyof typeof defaultOptions
  > & {
    python: string
    /** The models to serve, the default one first. */
    models: readonly ModelEntry[]
    memoryBudget: number
    pictureFolder: string
    jobBytes: number
    /** Seconds. */
    jobTtl: number
    /** Undefined for jobs in memory. */
    jobStore: ValkeyAddress | undefined
    defaults: Defaults
  }
>

function parseUrl(value: string): string {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) throw new Error('must be an http:// or https:// address')
  return value
}

function parsePublicUrl(value: string): string {
  const { search, hash } = new URL(parseUrl(value))
  if (search !== '' || hash !== '') throw new Error('must not contain ? or #')
  return value
}

function parseSecret(value: string): string {
  if (value.length < 32) throw new Error('must have 32 characters or more')
  return value
}

function parseOrigins(value: string): string[] {
  const origins = value.split(/\s+/).filter(Boolean)
  const wrong = origins.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin)
  if (wrong !== undefined) throw new Error(`${wrong} is not an origin; write it like https://app.example.com`)
  return origins
}

/** The file is read when the server starts, so that manifests can be checked where it does not exist. */
function parseWebhookSecrets(value: string): string {
  if (!isFile(value)) parseSecrets(value)
  return value
}

/** The file is read when the server starts, so that manifests can be checked where it does not exist. */
function parseKey(value: string): string {
  if (!CURVE_KEY.test(value) && !/^@./.test(value))
    throw new Error('must be 40 characters of Z85, or @FILE for a file that contains them')
  return value
}

/**
 * Reads the options from the command line and the environment.
 *
 * @throws OptionError naming the wrong option; HelpRequested for `--help`; VersionRequested for `--version`
 */
export function loadOptions(
  argv: readonly string[] = process.argv.slice(2),
  env: NodeJS.ProcessEnv = process.env
): GatewayOptions {
  return check(readOptions(options, argv, env, help))
}

function check(values: OptionValues<typeof options>): GatewayOptions {
  const { model, vae, unet, refiner, ...rest } = values
  const parts = Object.entries({ vae, unet, refiner }).flatMap(([name, path]) =>
    path === undefined ? [] : [`--${name}`, path]
  )
  const models = modelsIn(model, values.models, parts)
  const sharing = models.find(({ device }) => device !== undefined)
  if (sharing !== undefined && values.worker === 'connect')
    throw new OptionError(
      `MODELS: ${sharing.name} has a "device", but only workers that the gateway starts (WORKER=spawn) can take turns`
    )
  if (values.holdRequests && values.worker === 'spawn')
    throw new OptionError(
      'HOLD_REQUESTS is for WORKER=connect: a gateway that starts its workers knows whether one is coming'
    )
  if (values.defaultGuidanceStart > values.defaultGuidanceEnd)
    throw new OptionError('DEFAULT_GUIDANCE_START must be at most DEFAULT_GUIDANCE_END')
  if (values.pictureDisk < values.pictureLimit) throw new OptionError('PICTURE_DISK must be at least PICTURE_LIMIT')
  if (values.resultsKeep < values.resultsUrlTtl) throw new OptionError('RESULTS_KEEP must be at least RESULTS_URL_TTL')
  if (values.webhookHosts.length > 0 && values.webhookSecrets === undefined)
    throw new OptionError('WEBHOOK_HOSTS needs WEBHOOK_SECRETS, which sign webhooks')
  if (values.webhookHosts.length > 0 && values.accessKeys !== undefined)
    throw new OptionError(
      'WEBHOOK_HOSTS is for a server without ACCESS_KEYS: give webhook_hosts to the keys in their file'
    )
  if (values.heartbeatTimeout < 2 * values.heartbeatInterval)
    throw new OptionError('HEARTBEAT_TIMEOUT must be at least twice HEARTBEAT_INTERVAL')
  const memoryBudget = checkMemory(values)
  return Object.freeze({
    ...rest,
    defaults: defaultsIn(values),
    models,
    workerEndpoint: checkEndpoint(values),
    memoryBudget,
    jobStore: jobStoreOf(values),
    jobBytes: jobBytesOf(values, memoryBudget),
    jobTtl: jobTtlOf(values),
    pictureFolder: values.pictureFolder ?? tmpdir(),
    python: pythonPath(values.python)
  })
}

function checkEndpoint(values: OptionValues<typeof options>): string {
  const { workerEndpoint: given, worker, curveSecretKey: key, curveWorkerKeys: workerKeys } = values
  if (workerKeys !== undefined && key === undefined)
    throw new OptionError(
      'CURVE_WORKER_KEYS needs CURVE_SECRET_KEY: without it the socket has no encryption and no keys'
    )
  try {
    return workerEndpoint(given, { spawns: worker === 'spawn', hasKeys: key !== undefined && workerKeys !== undefined })
  } catch (error) {
    throw new OptionError(`WORKER_ENDPOINT${given === '' ? '' : `=${given}`}: ${(error as Error).message}`)
  }
}

/** @param args arguments for the workers of a single MODEL */
function modelsIn(
  model: string,
  several: readonly ModelEntry[] | undefined,
  args: readonly string[]
): readonly ModelEntry[] {
  if (several !== undefined) {
    if (args.length > 0)
      throw new OptionError(
        'with MODELS, give --vae, --unet and --refiner in the "args" of the model that they are for'
      )
    if (model === options.model.fallback) return several
    throw new OptionError('give MODEL or MODELS, not both: MODELS names every model, the default one first')
  }
  const wrong = addressError(model)
  if (wrong !== undefined) throw new OptionError(`MODEL=${model}: ${wrong}`)
  return [{ name: undefined, path: resolve(model), device: undefined, workers: undefined, args, env: {} }]
}

/**
 * Returns the options if the model folders are valid. Separate from `loadOptions`, because tests load manifests' options
 * on machines without those folders.
 *
 * @throws OptionError that says what is wrong with a folder and what to give instead
 */
export function requireModels(given: GatewayOptions): GatewayOptions {
  for (const { name, path } of given.models) {
    const wrong = modelError(path, given.worker === 'spawn' && given.engine !== 'fake')
    if (wrong !== undefined)
      throw new OptionError(`${name === undefined ? 'MODEL' : `MODELS: ${name}`}=${path}: ${wrong}`)
  }
  return given
}

/** The environment of this process, which its workers inherit, without what only the gateway may know. */
export function processEnvironment(): NodeJS.ProcessEnv {
  const own = new Set(
    Object.values<Option<unknown>>(options).flatMap(({ env, secret }) => (secret === true ? env : []))
  )
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.has(name)))
}

/** The memory budget in bytes: the given one, else one that fits the process. Checks the options that depend on it. */
function checkMemory({ memoryBudget, idempotencyBytes, bodyLimit }: OptionValues<typeof options>): number {
  // Without a container limit, constrainedMemory() is 0 or larger than any memory.
  const limit = process.constrainedMemory()
  const total = memoryBudget ?? budgetWithin(limit > 0 ? Math.min(limit, totalmem()) : totalmem())
  const budget = new MemoryBudget(total)
  const check = (env: string, value: number | undefined, part: Part) => {
    if (value !== undefined && value > budget.most(part))
      throw new OptionError(
        `${env}=${value} must be at most ${budget.most(part)}, the share of MEMORY_BUDGET=${total} for ${part}; raise MEMORY_BUDGET or lower ${env}`
      )
  }
  check('IDEMPOTENCY_BYTES', idempotencyBytes, 'replays')
  check('BODY_LIMIT', bodyLimit, 'uploads')
  return total
}

/** The error does not repeat the value, which may have a password. */
function jobStoreOf({ jobStore, jobReplicas }: OptionValues<typeof options>): ValkeyAddress | undefined {
  if (jobStore === 'memory') {
    if (jobReplicas > 0) throw new OptionError('JOB_REPLICAS needs a JOB_STORE in Valkey')
    return undefined
  }
  try {
    return parseValkeyAddress(jobStore)
  } catch (error) {
    throw new OptionError(`JOB_STORE ${(error as Error).message}`)
  }
}

/** Most bytes of jobs. In memory they share a part of the budget with answers kept for retries, and take half of it. */
function jobBytesOf({ jobBytes, jobStore }: OptionValues<typeof options>, memoryBudget: number): number {
  if (jobStore !== 'memory') return jobBytes ?? DEFAULT_JOB_BYTES
  const most = new MemoryBudget(memoryBudget).most('jobs')
  if (jobBytes !== undefined && jobBytes > most)
    throw new OptionError(
      `JOB_BYTES=${jobBytes} must be at most ${most}, the share of MEMORY_BUDGET=${memoryBudget} for jobs; raise MEMORY_BUDGET or lower JOB_BYTES`
    )
  return jobBytes ?? Math.floor(most / 2)
}

/** A job is not kept for longer than its files are. Buckets have rules that are not known here. */
function jobTtlOf({ jobTtl, results, resultsKeep }: OptionValues<typeof options>): number {
  const most = results?.kind === 'file' ? resultsKeep : Infinity
  if (jobTtl !== undefined && jobTtl > most)
    throw new OptionError(
      `RESULTS_KEEP=${resultsKeep} must be at least JOB_TTL=${jobTtl}, because RESULTS has the images of jobs; raise RESULTS_KEEP or lower JOB_TTL`
    )
  return jobTtl ?? Math.min(DEFAULT_JOB_TTL, most)
}

/** Makes a path absolute, because workers run in another folder. A bare name stays for lookup on the PATH. */
function pythonPath(given: string | undefined): string {
  if (given === undefined) return defaultPython()
  return given.includes('/') ? resolve(given) : given
}

function defaultPython(): string {
  const own = join(packageRoot, 'python-worker/.venv/bin/python')
  return existsSync(own) ? own : 'python3'
}

/** The text of `--help`. */
export function help(): string {
  return helpText(
    'easel: serves SDXL text-to-image over HTTP\n\nusage: easel [options]          (npm start -- [options])\n\nWorkers that it starts also read their own variables, such as SIZES, ROWS and DTYPE: docs/configuration.md.',
    options,
    packageRoot
  )
}
