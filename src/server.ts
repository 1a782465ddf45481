import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { KeyFile } from './access/key-file.js'
import { type AppParts, buildAdminApp, buildApp } from './app.js'
import { type Config, packageRoot } from './config.js'
import { Connections } from './connections.js'
import { connectionRoom } from './descriptors.js'
import { Engine, type EngineOptions } from './engine/engine.js'
import { ImageEncoder } from './image/encoder.js'
import { MemoryBudget } from './memory.js'
import { createMetrics } from './metrics.js'
import { closeWithin } from './process.js'
import { problemWithDefaults } from './service/defaults.js'
import { ImageService } from './service/service.js'
import { SdxlTokenizers } from './tokenizer/index.js'
import { noTracing, type Tracing } from './tracing/tracing.js'
import { readVersion } from './version.js'

/** The assembled gateway. It does not listen yet. */
export interface Server {
  app: FastifyInstance
  /** The application for ADMIN_PORT, if set. */
  admin: FastifyInstance | undefined
  engine: Engine
  service: ImageService
  /** Shuts down cleanly: refuses new requests, lets running ones finish within `graceMs`, then ends the rest. */
  close: (graceMs: number) => Promise<void>
}

/** How often a draining server checks whether its last request has ended, in ms. */
const DRAIN_POLL_MS = 20

/** How much of the drain time is kept for encoding the last images, in ms. */
const LAST_FILES_MS = 500

/** How long sending the last answers may take, in ms. */
const LAST_ANSWERS_MS = 2000

/** Descriptors reserved for the process itself, and for each worker (3 pipes, its socket, more while it starts). */
const OWN_DESCRIPTORS = 64
const WORKER_DESCRIPTORS = 8

/** Most connections to ADMIN_PORT. */
const ADMIN_CONNECTIONS = 64

/** Builds the gateway from its settings. Starts the workers without waiting until they are ready. */
export async function createServer(config: Config, log: Logger): Promise<Server> {
  const version = readVersion()
  const keys = config.accessKeys === undefined ? undefined : await KeyFile.open(config.accessKeys, log)
  const tracing = await openTracing(config, version)
  const tokenizers = await SdxlTokenizers.fromModelFolder(config.model)
  const metrics = createMetrics()
  const memory = new MemoryBudget(config.memoryBudget)
  const reserve =
    OWN_DESCRIPTORS + WORKER_DESCRIPTORS * config.workers + (config.adminPort === undefined ? 0 : ADMIN_CONNECTIONS)
  const connections = new Connections(connectionRoom(config.maxConnections, reserve, log))
  const engine = await Engine.open({
    endpoint: config.workerEndpoint,
    curveSecretKey: config.curveSecretKey,
    tokenizers: tokenizers.tokenizers.map(({ digest }) => digest),
    heartbeatInterval: config.heartbeatInterval * 1000,
    heartbeatTimeout: config.heartbeatTimeout * 1000,
    stepTimeout: config.stepTimeout * 1000,
    workersExpected: config.workers,
    spawn: config.worker === 'spawn' ? spawnOptions(config) : undefined,
    check: (model) => problemWithDefaults(model, config.defaults, tokenizers),
    log,
    observer: metrics.observer
  })
  memory.onRoom(() => engine.resume())
  const service = new ImageService({
    engine,
    memory,
    tokenizers,
    encoder: new ImageEncoder({
      pngCompression: config.pngCompression,
      concurrency: config.imageEncoders ?? availableParallelism() + 1
    }),
    defaults: config.defaults,
    queueLimit: config.queueLimit,
    requestTimeout: config.requestTimeout * 1000,
    resumeWindow: config.resumeWindow * 1000,
    idempotencyTtl: config.idempotencyTtl * 1000,
    idempotencyBytes: config.idempotencyBytes ?? memory.most('replays'),
    embedRecipe: config.embedRecipe,
    version,
    observer: metrics.observer
  })
  metrics.watch({ engine, service, memory, connections, log })
  const parts: AppParts = {
    service,
    metrics,
    keys,
    tracing,
    log,
    logPrompts: config.logPrompts,
    bodyLimit: config.bodyLimit,
    receiveTimeout: config.receiveTimeout * 1000,
    keepAliveTimeout: config.keepAliveTimeout * 1000,
    sendTimeout: config.sendTimeout * 1000,
    onSlowReader: metrics.slowReader,
    onRefused: metrics.refused,
    memory,
    connections,
    withRecipe: config.embedRecipe,
    corsOrigins: config.corsOrigins,
    snapSizes: config.snapSizes,
    withAdmin: config.adminPort === undefined
  }
  const app = await buildApp(parts)
  const admin =
    config.adminPort === undefined
      ? undefined
      : await buildAdminApp({ ...parts, connections: new Connections(ADMIN_CONNECTIONS) })

  return {
    app,
    admin,
    engine,
    service,
    async close(graceMs) {
      const end = performance.now() + graceMs
      engine.drain(Math.max(graceMs - LAST_FILES_MS, graceMs / 2))
      while (service.ledger.inFlight > 0 && performance.now() < end)
        await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS))
      await engine.close()
      keys?.close()
      await Promise.all([app, admin].map((each) => each && closeWithin(each, LAST_ANSWERS_MS)))
      await tracing.close()
    }
  }
}

/** Loads the OpenTelemetry packages only if tracing is on. */
async function openTracing({ otlpEndpoint, otelServiceName }: Config, version: string): Promise<Tracing> {
  if (otlpEndpoint === undefined) return noTracing
  const { openTelemetry } = await import('./tracing/open-telemetry.js')
  return openTelemetry({ endpoint: otlpEndpoint, serviceName: otelServiceName, version })
}

function spawnOptions(config: Config): NonNullable<EngineOptions['spawn']> {
  return {
    command: config.python,
    cwd: join(packageRoot, 'python-worker'),
    names: Array.from({ length: config.workers }, (_, index) => `worker-${index}`),
    args: (name) => [
      '-m',
      'easel_worker',
      '--connect',
      config.workerEndpoint,
      '--name',
      name,
      '--engine',
      config.engine,
      '--model',
      config.model,
      '--log-level',
      config.logLevel,
      '--step-timeout',
      String(config.stepTimeout),
      '--exit-with-parent',
      ...config.workerArgs
    ],
    backoff: config.restartBackoff * 1000,
    startTimeout: config.startTimeout * 1000
  }
}
