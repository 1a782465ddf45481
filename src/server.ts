import { randomBytes, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { KeyFile } from './access/key-file.js'
import { WebhookRules } from './access/webhook-rules.js'
import { type AppParts, buildAdminApp, buildApp } from './app.js'
import { type GatewayOptions, packageRoot, processEnvironment } from './gateway-options.js'
import { Connections } from './connections.js'
import { tokenizerFolders } from './model-folder.js'
import { connectionRoom, fileRoom } from './descriptors.js'
import { readCurveKeys } from './workers/curve.js'
import type { WorkerProcess } from './workers/supervisor.js'
import { type PoolOptions, WorkerPool } from './workers/worker-pool.js'
import { ImageEncoder } from './image/encoder.js'
import { JobAnnouncer } from './jobs/announcer.js'
import { JobConsumer } from './jobs/consumer.js'
import type { WriterObserver } from './jobs/writer.js'
import { openBatching } from './batches/open.js'
import type { BatchObserver } from './batches/parts.js'
import { Jobs } from './jobs/jobs.js'
import { Places } from './jobs/places.js'
import { JobFileStore } from './jobs/files.js'
import { MemoryJobStore, type MemoryStoreOptions } from './jobs/memory-store.js'
import type { JobBounds, JobStore } from './jobs/store.js'
import { MemoryBudget } from './memory.js'
import { createMetrics, type Metrics } from './metrics.js'
import { createPickerMetrics } from './picker-metrics.js'
import { PictureReader } from './pictures/reader.js'
import { closeWithin } from './process.js'
import { problemWithDefaults } from './service/defaults.js'
import { FolderStore } from './results/folder.js'
import type { Location } from './results/location.js'
import { openStore } from './results/open.js'
import { Results } from './results/results.js'
import { Signer } from './results/signature.js'
import { webhookBody } from './routes/jobs/webhook.js'
import { batchWebhookBody } from './routes/openai/batch-webhook.js'
import { generationsEndpoint } from './routes/openai/batch-endpoint.js'
import { MAX_READS, STORED_PATH, type StoredFiles } from './routes/stored-file.js'
import { Model, Models } from './service/models.js'
import { ImageService } from './service/service.js'
import { SdxlTokenizers, SharedParts } from './tokenizer/index.js'
import { noTracing, type Tracing } from './tracing/tracing.js'
import { MAX_FILES, UploadStore } from './uploads/store.js'
import { tryFolder, useFolder } from './use-folder.js'
import { readVersion } from './version.js'
import { secretsIn } from './webhooks/secrets.js'
import { WebhookSender } from './webhooks/sender.js'

/** The assembled gateway. It does not listen yet. */
export interface Server {
  app: FastifyInstance
  /** The application for ADMIN_PORT, if set. */
  admin: FastifyInstance | undefined
  pool: WorkerPool
  service: ImageService
  jobs: Jobs
  /** Shuts down cleanly: refuses new requests, lets running ones finish within `graceMs`, then ends the rest. */
  close: (graceMs: number) => Promise<void>
}

/** How often a draining server checks whether its last request has ended, in ms. */
const DRAIN_POLL_MS = 20

/** How much of the drain time is kept for encoding the last images, in ms. */
const LAST_FILES_MS = 500

/** How long sending the last answers may take, in ms. */
const LAST_ANSWERS_MS = 2000

/** How long the last webhooks may take, in ms. */
const LAST_WEBHOOKS_MS = 1000

/** How long an attempt to send a webhook may take, in ms. */
const WEBHOOK_MS = 15_000

/** Descriptors reserved for the process itself, and for each worker (3 pipes, its socket, more while it starts). */
const OWN_DESCRIPTORS = 64
const WORKER_DESCRIPTORS = 8

/** How long decoding one picture may take, in seconds. */
const DECODE_SECONDS = 20

/** Most connections to ADMIN_PORT. */
const ADMIN_CONNECTIONS = 64

/** Builds the gateway from its options. Starts the workers without waiting until they are ready. */
export async function createServer(options: GatewayOptions, log: Logger): Promise<Server> {
  const version = readVersion()
  const keys = options.accessKeys === undefined ? undefined : await KeyFile.open(options.accessKeys, log)
  const tracing = await openTracing(options, version)
  const tokenizers = await tokenizersOf(options)
  const metrics = createMetrics()
  const memory = new MemoryBudget(options.memoryBudget)
  const holdStates = (bytes: number) => memory.tryHold('states', bytes)
  // Before any worker starts.
  const stored = options.results && (await openResults({ ...options, results: options.results }, log, metrics))
  const { pictureFolder } = options
  if (pictureFolder !== tmpdir()) await useFolder(`PICTURE_FOLDER=${pictureFolder}`, () => tryFolder(pictureFolder))
  const processes = workerProcesses(options)
  const maxFiles = fileRoom(MAX_FILES)
  const reserve =
    OWN_DESCRIPTORS +
    WORKER_DESCRIPTORS * Math.max(processes.length, options.workers) +
    maxFiles +
    (options.adminPort === undefined ? 0 : ADMIN_CONNECTIONS) +
    (options.results?.kind === 'file' ? MAX_READS : 0)
  const connections = new Connections(connectionRoom(options.maxConnections, reserve, log))
  const pool = await WorkerPool.open({
    endpoint: options.workerEndpoint,
    curve: await readCurveKeys(options.curveSecretKey, options.curveWorkerKeys),
    heartbeatInterval: options.heartbeatInterval * 1000,
    heartbeatTimeout: options.heartbeatTimeout * 1000,
    stepTimeout: options.stepTimeout * 1000,
    workersExpected: options.worker === 'spawn' ? runningAtOnce(options) : options.workers,
    swapWait: options.swapWait * 1000,
    spawn: options.worker === 'spawn' ? spawnOptions(options, processes) : undefined,
    models: options.models.map(({ name, device }, index) => ({
      name,
      device,
      tokenizers: tokenizers[index]!.tokenizers.map(({ digest }) => digest),
      check: (model) => problemWithDefaults(model, options.defaults, tokenizers[index]!)
    })),
    holdStates,
    log,
    observer: metrics.observer
  })
  memory.onRoom(() => pool.resume())
  const uploads = new UploadStore({
    folder: options.pictureFolder,
    maxFiles,
    maxFileBytes: options.pictureLimit,
    maxBytes: options.pictureDisk,
    observer: metrics.observer
  })
  const service = new ImageService({
    pool,
    maxPictureBytes: options.pictureLimit,
    pictures: new PictureReader({
      maxPixels: options.picturePixels,
      seconds: DECODE_SECONDS,
      concurrency: options.pictureDecoders,
      observer: metrics.observer
    }),
    models: new Models(pool.models.map((served, index) => new Model(served, tokenizers[index]!, options.defaults))),
    memory,
    encoder: new ImageEncoder({
      pngCompression: options.pngCompression,
      concurrency: options.imageEncoders ?? availableParallelism() + 1
    }),
    defaults: options.defaults,
    queueLimit: options.queueLimit,
    holdRequests: options.holdRequests,
    requestTimeout: options.requestTimeout * 1000,
    resumeWindow: options.resumeWindow * 1000,
    idempotencyTtl: options.idempotencyTtl * 1000,
    idempotencyBytes: options.idempotencyBytes ?? memory.most('replays'),
    embedRecipe: options.embedRecipe,
    version,
    observer: metrics.observer
  })
  const bounds: JobBounds = {
    jobs: options.jobLimit,
    bytes: options.jobBytes,
    keep: options.jobTtl * 1000,
    lease: options.jobClaimTimeout * 1000
  }
  const store = await openJobStore(options, {
    bounds,
    memory,
    log,
    makeRoom: (bytes) => service.makeRoom(bytes),
    place: stored?.results.identity
  })
  const files = stored && new JobFileStore(stored.results, store, log)
  const places = new Places({ store, service })
  const webhooks = await webhookRules(options, keys)
  const jobs = new Jobs({
    store,
    files,
    service,
    timeout: options.jobTimeout * 1000,
    // While the request runs, and for as long as its answer is kept.
    keyTtl: (options.requestTimeout + options.idempotencyTtl) * 1000,
    webhooks,
    observer: metrics.observer
  })
  const announcer = sendsWebhooks(options)
    ? new JobAnnouncer({
        store,
        rules: webhooks,
        sender: new WebhookSender({ networks: options.webhookNetworks, version, timeout: WEBHOOK_MS }),
        bodyOf: async ({ kind, name, state }, { id }) =>
          kind === 'job' ? webhookBody(jobs, name, state, options.publicUrl) : batchWebhookBody(state, id),
        log,
        observer: metrics.observer
      })
    : undefined
  // Ends are told at once.
  const observer: WriterObserver & BatchObserver = {
    ...metrics.observer,
    jobEnded(end) {
      metrics.observer.jobEnded(end)
      announcer?.wake()
    },
    batchEnded(end) {
      metrics.observer.batchEnded(end)
      announcer?.wake()
    }
  }
  const consumer = new JobConsumer({
    store,
    files,
    service,
    places,
    uploads,
    owner: randomUUID(),
    withRecipe: options.embedRecipe,
    holdStates,
    log,
    observer
  })
  const batching = openBatching({
    service,
    jobs,
    endpoint: generationsEndpoint({
      service,
      snapSizes: options.snapSizes,
      bodyLimit: options.bodyLimit
    }),
    log,
    observer
  })
  for (const { served } of service.models) void served.firstReady.then(() => consumer.wake()).catch(() => undefined)
  metrics.watch({ pool, service, memory, uploads, connections, log, jobs, consumer, batches: batching.runner })
  const parts: AppParts = {
    service,
    jobs,
    places,
    metrics,
    keys,
    tracing,
    log,
    logPrompts: options.logPrompts,
    bodyLimit: options.bodyLimit,
    receiveTimeout: options.receiveTimeout * 1000,
    keepAliveTimeout: options.keepAliveTimeout * 1000,
    connectionMaxAge: options.connectionMaxAge * 1000,
    sendTimeout: options.sendTimeout * 1000,
    onSlowReader: metrics.slowReader,
    onRefused: metrics.refused,
    memory,
    uploads,
    connections,
    withRecipe: options.embedRecipe,
    corsOrigins: options.corsOrigins,
    snapSizes: options.snapSizes,
    results: stored?.results,
    storedFiles: stored?.files,
    batching,
    publicUrl: options.publicUrl,
    pickerMetrics: options.pickerMetrics ? createPickerMetrics({ pool, service }) : undefined,
    withAdmin: options.adminPort === undefined
  }
  const app = await buildApp(parts)
  const admin =
    options.adminPort === undefined
      ? undefined
      : await buildAdminApp({ ...parts, connections: new Connections(ADMIN_CONNECTIONS) })

  return {
    app,
    admin,
    pool,
    service,
    jobs,
    async close(graceMs) {
      const end = performance.now() + graceMs
      service.drain()
      batching.runner.stop()
      consumer.stop()
      pool.drain(Math.max(graceMs - LAST_FILES_MS, graceMs / 2))
      while (service.ledger.inFlight > 0 && performance.now() < end)
        await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS))
      await pool.close()
      await consumer.close()
      await announcer?.close(LAST_WEBHOOKS_MS)
      await files?.close()
      await batching.runner.close()
      await places.close()
      await store.close()
      keys?.close()
      await Promise.all([app, admin].map((each) => each && closeWithin(each, LAST_ANSWERS_MS)))
      stored?.results.close()
      await tracing.close()
    }
  }
}

/** Opens the store of finished images. A folder is served by the gateway itself. */
async function openResults(
  { results: location, ...options }: GatewayOptions & { results: Location },
  log: Logger,
  { observer }: Metrics
): Promise<{ results: Results; files: StoredFiles | undefined }> {
  const signer = new Signer(options.resultsSecret ?? randomBytes(32))
  const { resultsKeep: keep, resultsDisk: maxBytes, resultsUrlTtl: urlTtl } = options
  const store = await openStore(location, { signer, path: STORED_PATH, keep, maxBytes })
  return {
    results: new Results({ store, urlTtl, log, observer }),
    files: store instanceof FolderStore ? { store, signer } : undefined
  }
}

/** Loads the OpenTelemetry packages only if tracing is on. */
async function openTracing({ otlpEndpoint, otelServiceName }: GatewayOptions, version: string): Promise<Tracing> {
  if (otlpEndpoint === undefined) return noTracing
  const { openTelemetry } = await import('./tracing/open-telemetry.js')
  return openTelemetry({ endpoint: otlpEndpoint, serviceName: otelServiceName, version })
}

/** Loads Valkey's client only if the jobs are there. */
async function openJobStore(
  { jobStore: address, jobReplicas: replicas, jobStoreCa }: GatewayOptions,
  { log, place, ...parts }: MemoryStoreOptions & { log: Logger; place: string | undefined }
): Promise<JobStore> {
  if (address === undefined) return new MemoryJobStore(parts)
  const { ValkeyJobStore } = await import('./jobs/valkey/store.js')
  const trusted =
    jobStoreCa === undefined
      ? undefined
      : await readFile(jobStoreCa, 'utf8').catch((error: Error) => {
          throw new Error(`JOB_STORE_CA: ${error.message}; give a file of certificates as PEM`, { cause: error })
        })
  return new ValkeyJobStore({ address, replicas, bounds: parts.bounds, log, trusted, place })
}

/** Whether webhooks may go anywhere. A gateway that sends none leaves them to those that do. */
function sendsWebhooks({ accessKeys, webhookHosts }: GatewayOptions): boolean {
  return accessKeys !== undefined || webhookHosts.length > 0
}

async function webhookRules(
  { webhookHosts: hosts, webhookSecrets: given }: GatewayOptions,
  keys: KeyFile | undefined
): Promise<WebhookRules> {
  const secrets =
    given === undefined
      ? []
      : await secretsIn(given).catch((error: Error) => {
          throw new Error(`WEBHOOK_SECRETS: ${error.message}`, { cause: error })
        })
  return new WebhookRules({ keys, hosts, secrets })
}

/** Tokenizers of the models, in order. Those of equal folders share their parts. */
async function tokenizersOf({ models }: GatewayOptions): Promise<SdxlTokenizers[]> {
  const shared = new SharedParts()
  const all: SdxlTokenizers[] = []
  for (const { path } of models) all.push(await SdxlTokenizers.fromFolders(tokenizerFolders(path), shared))
  return all
}

/** The workers to start, by model. A server's only model calls them worker-0, worker-1, ... */
function workerProcesses(options: GatewayOptions): WorkerProcess[] {
  return options.models.flatMap(({ name, path, workers = options.workers, args, env }, model) =>
    Array.from({ length: workers }, (_, index) => {
      const worker = `${name ?? 'worker'}-${index}`
      const named = name === undefined ? [] : ['--model-name', name]
      return { name: worker, model, args: [...workerArgs(options, worker, path), ...named, ...args], env }
    })
  )
}

/** How many of the workers run at once: of models that share a device, only those of one. */
function runningAtOnce({ models, workers: count }: GatewayOptions): number {
  const most = new Map<string, number>()
  for (const [index, { device, workers = count }] of models.entries()) {
    const place = device === undefined ? `${index}` : `device ${device}`
    most.set(place, Math.max(workers, most.get(place) ?? 0))
  }
  return [...most.values()].reduce((sum, workers) => sum + workers, 0)
}

function workerArgs(options: GatewayOptions, name: string, model: string): string[] {
  return [
    '-m',
    'easel_worker',
    '--connect',
    options.workerEndpoint,
    '--name',
    name,
    '--engine',
    options.engine,
    '--model',
    model,
    '--log-level',
    options.logLevel,
    '--step-timeout',
    String(options.stepTimeout),
    '--exit-with-parent',
    ...options.workerArgs
  ]
}

function spawnOptions(options: GatewayOptions, workers: readonly WorkerProcess[]): NonNullable<PoolOptions['spawn']> {
  return {
    command: options.python,
    cwd: join(packageRoot, 'python-worker'),
    env: processEnvironment(),
    workers,
    backoff: options.restartBackoff * 1000,
    startTimeout: options.startTimeout * 1000
  }
}
