import { existsSync } from 'node:fs'
import { totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { budgetWithin, MemoryBudget, type Part } from './memory.js'
import type { Defaults } from './parameters.js'
import { addressError, folderError } from './model-folder.js'
import { defaultOptions, defaultsIn } from './default-options.js'
import {
  ConfigError,
  flag,
  type Option,
  type OptionValues,
  helpText,
  number,
  oneOf,
  optional,
  parseNumber,
  readOptions,
  text
} from './options.js'
import { workerEndpoint } from './worker-endpoint.js'

/** The folder that holds package.json, models/ and python-worker/. */
export const packageRoot = fileURLToPath(new URL('..', import.meta.url))

const whole = { integer: true }
/** Less has no room for two images of 1024x1024. In bytes. */
const LEAST_BUDGET = 16 * 2 ** 20
const seconds = { min: 0.05, max: 86_400 }

/**
 * Every option of the gateway, in the order `--help` shows them. Each is read from its flag
 * (`--kebab-case`), else from its environment variable, else it has the default given here.
 */
export const options = {
  host: text('HOST', 'localhost', 'Address to listen on; 0.0.0.0 for every interface.'),
  port: number('PORT', 8000, { min: 0, max: 65_535, ...whole }, 'Port to listen on; 0 takes a free one.'),
  adminPort: optional({
    env: 'ADMIN_PORT',
    value: 'integer',
    doc: 'A second port for /metrics and the probes, which are then not on the first; /health is on both. Default: none.',
    parse: (value: string) => parseNumber(value, { min: 0, max: 65_535, ...whole })
  }),
  logLevel: oneOf(
    'LOG_LEVEL',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Least level that is logged.'
  ),
  logPrompts: flag('LOG_PROMPTS', false, 'Whether the log line of a request holds its prompts: true or false.'),
  logFormat: oneOf('LOG_FORMAT', ['json', 'pretty'], 'json', 'json for machines, pretty for a terminal.'),

  model: text(
    'MODEL',
    join(packageRoot, 'models/demo'),
    'Folder of the model, as diffusers lays it out. The gateway reads its two tokenizers, a worker that it starts reads all of it. `npm start` also takes org/name or org/name@revision of the Hugging Face hub, and fetches it into .cache/models.'
  ),
  worker: oneOf(
    'WORKER',
    ['spawn', 'connect'],
    'spawn',
    'spawn: the gateway starts and restarts its workers. connect: workers are started by someone else and connect to WORKER_ENDPOINT.'
  ),
  workers: number(
    'WORKERS',
    1,
    { min: 1, max: 64, ...whole },
    'How many workers there should be: to start (WORKER=spawn), or that others start (WORKER=connect, where it is only for metrics and alerts). One worker drives all chips of the host.'
  ),
  workerEndpoint: text(
    'WORKER_ENDPOINT',
    '',
    "ZeroMQ address that the gateway binds for its workers: ipc://PATH, or tcp://HOST:PORT on loopback or with CURVE_SECRET_KEY. A socket file has mode 0600, so workers run as the gateway's user; one that a killed gateway left behind is replaced, nothing else is. Empty: a fresh ipc socket in the temporary folder (WORKER=spawn only)."
  ),
  curveSecretKey: optional({
    env: 'CURVE_SECRET_KEY',
    value: 'z85',
    doc: 'CURVE secret key of the gateway (40 characters of Z85); its public half is what workers are given.',
    parse: parseZ85
  }),
  engine: oneOf(
    'ENGINE',
    ['sdxl', 'fake'],
    'sdxl',
    'Engine of the workers to start: sdxl, or fake (computed pictures, for tests and benchmarks).'
  ),
  python: optional({
    env: 'PYTHON',
    value: 'path',
    doc: 'Python that runs the workers to start. Default: the one of `npm run setup` (python-worker/.venv), else python3 from the PATH.',
    parse: (value: string) => value
  }),
  workerArgs: {
    env: 'WORKER_ARGS',
    doc: 'More arguments for the workers to start, separated by spaces (see `python -m easel_worker --help`).',
    value: 'args',
    fallback: [],
    parse: (value) => value.split(/\s+/).filter(Boolean)
  } as Option<string[]>,

  ...defaultOptions,

  otlpEndpoint: optional({
    env: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    value: 'url',
    doc: 'OTLP/HTTP collector that traces are sent to, for example http://otel-collector:4318; the OTEL_* variables of the OpenTelemetry SDK for sampling and headers count too. Default: no traces.',
    parse: parseUrl
  }),
  otelServiceName: text('OTEL_SERVICE_NAME', 'easel', 'Name of the service in traces.'),

  queueLimit: number(
    'QUEUE_LIMIT',
    64,
    { min: 1, max: 100_000, ...whole },
    'Most requests that are accepted and not yet answered; one more is answered 429.'
  ),
  requestTimeout: number(
    'REQUEST_TIMEOUT',
    300,
    seconds,
    'Seconds after which a request is stopped and answered 504; a client may ask for less.'
  ),
  resumeWindow: number(
    'RESUME_WINDOW',
    10,
    { min: 0, max: 3600 },
    'Seconds that a request with an Idempotency-Key goes on for after its client has left, so that a retry can join it.'
  ),
  idempotencyTtl: number(
    'IDEMPOTENCY_TTL',
    600,
    seconds,
    'Seconds that the answer to a request with an Idempotency-Key is kept for.'
  ),
  memoryBudget: optional({
    env: 'MEMORY_BUDGET',
    value: 'bytes',
    doc: 'Most bytes that the gateway holds for its clients: an eighth of them for request bodies, a quarter for answers to retries, the rest for pixels, files and answers that are being read. More is refused with 503 MEMORY_FULL. Default: half of what the memory limit of the container (else the memory of the machine) leaves beside 160 MiB, at most 2 GiB.',
    parse: (value: string) => parseNumber(value, { min: LEAST_BUDGET, max: 2 ** 40, ...whole })
  }),
  idempotencyBytes: optional({
    env: 'IDEMPOTENCY_BYTES',
    value: 'bytes',
    doc: 'Most bytes of such answers that are kept. Default: a quarter of MEMORY_BUDGET, which is the most.',
    parse: (value: string) => parseNumber(value, { min: 0, max: 2 ** 40, ...whole })
  }),
  accessKeys: optional({
    env: 'ACCESS_KEYS',
    value: 'file',
    doc: 'JSON file with the bearer keys that requests for images must come with, and their limits; it may change while the server runs (docs/access.md). Default: no keys.',
    parse: (value: string) => value
  }),
  snapSizes: flag(
    'SNAP_SIZES',
    false,
    'Whether /v1 takes a size that is not offered for the nearest one that is, where it would refuse it: true or false.'
  ),
  corsOrigins: {
    env: 'CORS_ORIGINS',
    doc: 'Origins whose web pages may call the service, separated by spaces. Empty: none but its own.',
    value: 'origins',
    fallback: [],
    parse: parseOrigins
  } as Option<string[]>,
  bodyLimit: number(
    'BODY_LIMIT',
    524_288,
    { min: 1024, max: 104_857_600, ...whole },
    'Largest request body in bytes. The longest prompts, however they are escaped, take 384 KB.'
  ),
  receiveTimeout: number('RECEIVE_TIMEOUT', 30, seconds, 'Seconds that a client has to send its whole request.'),
  keepAliveTimeout: number(
    'KEEP_ALIVE_TIMEOUT',
    620,
    seconds,
    "Seconds that a connection stays open without a request. More than the balancer in front keeps its own (Google's: 600 s), or it sends a request into a connection that closes, and answers 502."
  ),
  sendTimeout: number(
    'SEND_TIMEOUT',
    30,
    seconds,
    'Seconds in which a client must read 1 MiB of its answer, or all that is left of it; one that does not is cut off.'
  ),
  maxConnections: number(
    'MAX_CONNECTIONS',
    1024,
    { min: 1, max: 1_000_000, ...whole },
    'Most HTTP connections at a time. At one more, the one that has been idle the longest is closed; only when all have a request under way, the new one. Less where the limit of descriptors (ulimit -n) would leave workers too few. The port of ADMIN_PORT has 64 of its own.'
  ),
  heartbeatInterval: number('HEARTBEAT_INTERVAL', 1, seconds, 'Seconds between heartbeats of a worker.'),
  heartbeatTimeout: number(
    'HEARTBEAT_TIMEOUT',
    10,
    seconds,
    'Seconds of silence after which a worker is taken for dead. Here and in STEP_TIMEOUT and START_TIMEOUT, time in which the gateway itself stood still does not count, and a worker may have up to two HEARTBEAT_INTERVALs more.'
  ),
  stepTimeout: number(
    'STEP_TIMEOUT',
    120,
    seconds,
    'Seconds without a finished step, while rows are in use, after which a worker is taken for hung.'
  ),
  startTimeout: number(
    'START_TIMEOUT',
    3600,
    seconds,
    'Seconds that a worker may take to load and compile before it says HELLO.'
  ),
  restartBackoff: number(
    'RESTART_BACKOFF',
    0.5,
    seconds,
    'Seconds before a dead worker is started again; doubled at each death in a row, up to 30.'
  ),
  drainTimeout: number(
    'DRAIN_TIMEOUT',
    25,
    seconds,
    'Seconds that SIGTERM leaves for running requests. Closing takes up to 4 more; keep the sum under the time that the platform gives (GKE spot nodes: 15 by default).'
  ),
  pngCompression: number('PNG_COMPRESSION', 7, { min: 0, max: 9, ...whole }, 'zlib level of PNG files.'),
  imageEncoders: optional({
    env: 'IMAGE_ENCODERS',
    value: 'integer',
    doc: 'Most image files that are made at once. Default: one more than this machine has cores, so that none is idle until the next picture is handed out. More than 4 take as many threads of Node, by UV_THREADPOOL_SIZE.',
    parse: (value: string) => parseNumber(value, { min: 1, max: 1024, ...whole })
  }),
  embedRecipe: flag(
    'EMBED_RECIPE',
    true,
    'Whether images and headers carry the whole recipe, with its prompts: true or false.'
  )
} satisfies Record<string, Option<unknown>>

export { ConfigError, flagOf, HelpRequested, VersionRequested } from './options.js'

/** The gateway's settings: parsed once, checked, frozen. */
export type Config = Readonly<
  Omit<OptionValues<typeof options>, 'python' | 'memoryBudget' | keyof typeof defaultOptions> & {
    python: string
    memoryBudget: number
    defaults: Defaults
  }
>

function parseUrl(value: string): string {
  if (!/^https?:\/\//.test(value) || !URL.canParse(value)) throw new Error('must be an http:// or https:// address')
  return value
}

function parseOrigins(value: string): string[] {
  const origins = value.split(/\s+/).filter(Boolean)
  const wrong = origins.find((origin) => !URL.canParse(origin) || new URL(origin).origin !== origin)
  if (wrong !== undefined) throw new Error(`${wrong} is no origin; one is like https://app.example.com`)
  return origins
}

function parseZ85(value: string): string {
  if (!/^[0-9a-zA-Z.\-:+=^!/*?&<>()[\]{}@%$#]{40}$/.test(value)) throw new Error('must be 40 characters of Z85')
  return value
}

/**
 * Reads the settings from command line and environment.
 *
 * @throws ConfigError naming the option at fault; HelpRequested for `--help`; VersionRequested for `--version`
 */
export function loadConfig(
  argv: readonly string[] = process.argv.slice(2),
  env: NodeJS.ProcessEnv = process.env
): Config {
  return check(readOptions(options, argv, env, help))
}

function check(values: OptionValues<typeof options>): Config {
  const model = parseModel(values.model)
  if (values.defaultGuidanceStart > values.defaultGuidanceEnd)
    throw new ConfigError('DEFAULT_GUIDANCE_START must be at most DEFAULT_GUIDANCE_END')
  if (values.heartbeatTimeout < 2 * values.heartbeatInterval)
    throw new ConfigError('HEARTBEAT_TIMEOUT must be at least twice HEARTBEAT_INTERVAL')
  return Object.freeze({
    ...values,
    defaults: defaultsIn(values),
    model,
    workerEndpoint: checkEndpoint(values),
    memoryBudget: checkMemory(values),
    python: pythonPath(values.python)
  })
}

function checkEndpoint({ workerEndpoint: given, worker, curveSecretKey }: OptionValues<typeof options>): string {
  try {
    return workerEndpoint(given, { spawns: worker === 'spawn', hasKeys: curveSecretKey !== undefined })
  } catch (error) {
    throw new ConfigError(`WORKER_ENDPOINT${given === '' ? '' : `=${given}`}: ${(error as Error).message}`)
  }
}

function parseModel(value: string): string {
  const wrong = addressError(value)
  if (wrong !== undefined) throw new ConfigError(`MODEL=${value}: ${wrong}`)
  return resolve(value)
}

/**
 * The settings, once the folder of the model is there. Apart from `loadConfig`: what a manifest says is on another machine.
 *
 * @throws ConfigError that says what is there instead, and what to give
 */
export function requireModel(config: Config): Config {
  const wrong = folderError(config.model, config.worker === 'spawn' && config.engine === 'sdxl')
  if (wrong !== undefined) throw new ConfigError(`MODEL=${config.model}: ${wrong}`)
  return config
}

/** The memory budget, given or by what the process may use, once the settings that have a share in it fit. */
function checkMemory({ memoryBudget, idempotencyBytes, bodyLimit }: OptionValues<typeof options>): number {
  // Where no container limits the process, Node says 0 or a number beyond all memory.
  const limit = process.constrainedMemory()
  const total = memoryBudget ?? budgetWithin(limit > 0 ? Math.min(limit, totalmem()) : totalmem())
  const budget = new MemoryBudget(total)
  const check = (env: string, value: number | undefined, part: Part) => {
    if (value !== undefined && value > budget.most(part))
      throw new ConfigError(
        `${env}=${value} must be at most ${budget.most(part)}, the share of MEMORY_BUDGET=${total} that is for ${part}; give MEMORY_BUDGET more, or ${env} less`
      )
  }
  check('IDEMPOTENCY_BYTES', idempotencyBytes, 'replays')
  check('BODY_LIMIT', bodyLimit, 'uploads')
  return total
}

/** A path is made absolute, since workers run in another folder; a bare name is looked up on the PATH. */
function pythonPath(given: string | undefined): string {
  if (given === undefined) return defaultPython()
  return given.includes('/') ? resolve(given) : given
}

function defaultPython(): string {
  const own = join(packageRoot, 'python-worker/.venv/bin/python')
  return existsSync(own) ? own : 'python3'
}

/** What `--help` prints: every option with its flag, variable, default and meaning. */
export function help(): string {
  return helpText(
    'easel: serves SDXL text-to-image over HTTP\n\nusage: easel [options]          (npm start -- [options])\n\nWorkers that it starts read variables of their own, such as SIZES, ROWS and DTYPE: docs/configuration.md.',
    options,
    packageRoot
  )
}
