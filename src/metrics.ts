import type { Logger } from 'pino'
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { BatchRunner } from './batches/runner.js'
import type { BatchObserver } from './batches/parts.js'
import type { Connections } from './connections.js'
import type { WorkerPool } from './workers/worker-pool.js'
import type { PoolObserver } from './workers/events.js'
import type { Heartbeat } from './workers/protocol.js'
import type { ErrorCode } from './errors.js'
import type { AnnouncerObserver } from './jobs/announcer.js'
import type { JobConsumer } from './jobs/consumer.js'
import type { Jobs, JobsObserver } from './jobs/jobs.js'
import type { WriterObserver } from './jobs/writer.js'
import { type MemoryBudget, PARTS } from './memory.js'
import type { ConnectedWorker } from './workers/registry.js'
import { HANDOVERS } from './workers/saved-states.js'
import { linesDropped } from './log.js'
import type { ServiceObserver, ImageService } from './service/service.js'
import type { ReaderObserver } from './pictures/reader.js'
import { OUTCOMES } from './service/ledger.js'
import type { Model } from './service/models.js'
import type { ResultsObserver } from './results/results.js'
import type { UploadObserver, UploadStore } from './uploads/store.js'

/** Histogram buckets in seconds, from the encoding of a PNG to the wait in a long queue. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300]

interface WatchedParts {
  pool: WorkerPool
  service: ImageService
  /** Connections of the first port. */
  connections: Connections
  /** Clients' pictures on the disk. */
  uploads: UploadStore
  memory: MemoryBudget
  log: Logger
  jobs: Jobs
  consumer: JobConsumer
  batches: BatchRunner
}

export interface Metrics {
  registry: Registry
  observer: PoolObserver &
    ServiceObserver &
    ReaderObserver &
    UploadObserver &
    ResultsObserver &
    JobsObserver &
    WriterObserver &
    AnnouncerObserver &
    BatchObserver
  /** Adds the metrics that are read from the running parts at each scrape. Call it once. */
  watch: (parts: WatchedParts) => void
  /** A client that did not read its answer was disconnected. */
  slowReader: () => void
  /** A request was refused. */
  refused: (code: ErrorCode) => void
}

/** Creates the metrics of docs/metrics.md. Names and labels are stable. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  // promtool rejects gauges whose names end in `_total`. The same gauges without `_total`, by type, remain.
  for (const kind of ['handles', 'requests', 'resources']) registry.removeSingleMetric(`nodejs_active_${kind}_total`)
  const histogram = (name: string, help: string, labelNames: string[] = []) =>
    new Histogram({ name, help, labelNames, buckets: SECONDS, registers })
  const counter = (name: string, help: string, labelNames: string[] = []) =>
    new Counter({ name, help, labelNames, registers })

  const duration = histogram('easel_request_duration_seconds', 'From acceptance to the end of a request.', ['outcome'])
  const queueWait = histogram('easel_queue_wait_seconds', 'From acceptance until a worker started the request.')
  const step = histogram('easel_step_duration_seconds', 'One denoising step, all rows together.', ['worker'])
  const file = histogram(
    'easel_image_encode_duration_seconds',
    'Encoding one image file, including the wait for an encoder.',
    ['format']
  )
  const images = counter('easel_images_total', 'Images made.')
  const pixels = counter('easel_pixels_total', 'Pixels made.')
  const fileBytes = counter('easel_image_bytes_total', 'Bytes of the image files made.', ['format'])
  const refused = counter('easel_requests_refused_total', 'Refused requests, by error code.', ['code'])
  const byKey = counter('easel_key_requests_total', 'Accepted requests that ended, by the name of their access key.', [
    'key',
    'outcome'
  ])
  const byModel = counter('easel_model_requests_total', 'Accepted requests that ended, by model.', ['model', 'outcome'])
  const repeated = counter(
    'easel_idempotent_requests_total',
    'Requests answered by an earlier one with the same key: joined while it ran, or replayed after it ended.',
    ['result']
  )
  const replays = counter('easel_replays_total', 'Requests sent to a worker again.')
  const handovers = counter(
    'easel_handovers_total',
    'Unfinished images that leaving workers gave back, by how that ended: continued, refused, crashed, no_worker, full, stored, ended.',
    ['outcome']
  )
  const lost = counter('easel_workers_lost_total', 'Connections to workers that ended.', ['worker', 'cause'])
  const restarts = counter('easel_worker_restarts_total', 'Restarts of worker processes.', ['worker'])
  const swaps = counter('easel_model_swaps_total', 'Times that a model took over the device that it shares.', ['model'])
  const malformed = counter('easel_malformed_messages_total', 'Dropped messages on the worker socket.', ['reason'])
  const peersRefused = counter(
    'easel_worker_peers_refused_total',
    'Connections to the worker socket that did not become those of a worker, by reason: key, protocol, handshake, name.',
    ['reason']
  )
  const slow = counter('easel_slow_readers_total', 'Clients disconnected because they did not read their answers.')
  const decoding = histogram('easel_picture_decode_duration_seconds', "Decoding one client's picture.")
  const pictureBytes = counter('easel_picture_bytes_total', "Bytes of clients' pictures received.")
  const picturesRefused = counter(
    'easel_pictures_refused_total',
    "Clients' pictures that could not be used, by reason: format, animated, pixels, broken, slow.",
    ['reason']
  )
  const results = counter(
    'easel_results_total',
    'Image files sent to the store of results: stored, or failed, which a client sees as an error.',
    ['outcome']
  )
  const resultBytes = counter('easel_result_bytes_total', 'Bytes of image files stored.')
  const storing = histogram('easel_result_store_duration_seconds', 'Storing one image file.')
  const resultsDeleted = counter(
    'easel_results_deleted_total',
    'Image files of jobs that are gone: deleted from the store of results, or not, to be tried again.',
    ['outcome']
  )
  for (const outcome of ['deleted', 'failed']) resultsDeleted.inc({ outcome }, 0)
  const jobsSubmitted = counter('easel_jobs_submitted_total', 'Jobs submitted: new ones, or known ones again.', [
    'result'
  ])
  const jobsEnded = counter('easel_jobs_ended_total', 'Jobs whose end was made here, by status.', ['status'])
  const jobsLeft = counter(
    'easel_job_claims_left_total',
    'Jobs claimed here and not ended: returned to the store, or lost to another gateway.',
    ['how']
  )
  const webhooks = counter(
    'easel_webhooks_total',
    'Attempts to send a webhook from here, by outcome: delivered, retried (it failed and is sent again), gone (410) or given_up.',
    ['outcome']
  )
  const webhookSeconds = histogram('easel_webhook_duration_seconds', 'One attempt to send a webhook.')
  // From 0, so that the first one is an increase.
  for (const outcome of ['delivered', 'retried', 'gone', 'given_up']) webhooks.inc({ outcome }, 0)
  for (const result of ['new', 'known']) jobsSubmitted.inc({ result }, 0)
  for (const status of ['succeeded', 'failed', 'cancelled', 'expired']) jobsEnded.inc({ status }, 0)
  for (const how of ['returned', 'lost']) jobsLeft.inc({ how }, 0)
  for (const outcome of HANDOVERS) handovers.inc({ outcome }, 0)
  const batchesEnded = counter('easel_batches_ended_total', 'Batches whose end was written here, by status.', [
    'status'
  ])
  for (const status of ['completed', 'failed', 'cancelled', 'expired']) batchesEnded.inc({ status }, 0)
  const compile = new Gauge({
    name: 'easel_compile_seconds',
    help: 'Time to compile a program, or to load it from the cache.',
    labelNames: ['worker', 'program', 'cached'],
    registers
  })

  const observer: Metrics['observer'] = {
    ended(outcome, seconds, key, model) {
      byModel.inc({ model, outcome })
      duration.observe({ outcome }, seconds)
      if (key !== '') byKey.inc({ key, outcome })
    },
    file({ seconds, format, bytes, width, height }) {
      file.observe({ format }, seconds)
      fileBytes.inc({ format }, bytes)
      images.inc()
      pixels.inc(width * height)
    },
    repeated: (result) => repeated.inc({ result }),
    queueWait: (seconds) => queueWait.observe(seconds),
    step: (worker, seconds) => step.observe({ worker }, seconds),
    hello(worker, hello) {
      for (const { name, seconds, cached } of hello.programs)
        compile.set({ worker, program: name, cached: String(cached) }, seconds)
    },
    pictureDecoded: (seconds) => decoding.observe(seconds),
    pictureRefused: (reason) => picturesRefused.inc({ reason }),
    pictureBytes: (bytes) => pictureBytes.inc(bytes),
    stored(outcome, seconds, bytes) {
      results.inc({ outcome })
      storing.observe(seconds)
      resultBytes.inc(bytes)
    },
    replay: () => replays.inc(),
    handover: (outcome) => handovers.inc({ outcome }),
    workerLost: (worker, cause) => lost.inc({ worker, cause }),
    swap: (model) => swaps.inc({ model }),
    restart: (worker) => restarts.inc({ worker }),
    malformed: (reason) => malformed.inc({ reason }),
    peerRefused: (reason) => peersRefused.inc({ reason }),
    deleted: (outcome) => resultsDeleted.inc({ outcome }),
    submitted: (result) => jobsSubmitted.inc({ result }),
    jobEnded: (status) => jobsEnded.inc({ status }),
    jobLeft: (how) => jobsLeft.inc({ how }),
    announced(outcome, seconds) {
      webhooks.inc({ outcome })
      webhookSeconds.observe(seconds)
    },
    batchEnded: (status) => batchesEnded.inc({ status })
  }
  return {
    registry,
    observer,
    watch: (parts) => watch(registry, parts),
    slowReader: () => slow.inc(),
    refused: (code) => refused.inc({ code })
  }
}

type DeviceMemory = Heartbeat['memory'][number]
type LoraSets = NonNullable<Heartbeat['lora_sets']>

type Sample = [labels: Record<string, string>, value: number]

/**
 * Adds metrics that are read at the scrape. prom-client calls every `collect` in one synchronous pass, so the values
 * are consistent: accepted = succeeded + failed + cancelled + expired + in flight in every scrape.
 */
function watch(
  registry: Registry,
  { pool, service, memory, uploads, connections, log, jobs: { store }, consumer, batches }: WatchedParts
): void {
  const registers = [registry]
  const { ledger } = service
  const gauge = (name: string, help: string, labelNames: string[], samples: () => Sample[]) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset()
        const all = samples()
        // reset() sets a gauge without labels to 0; remove that, because no sample means "unknown".
        if (all.length === 0 && labelNames.length === 0) this.remove()
        for (const [labels, value] of all) this.set(labels, value)
      }
    })
  const total = (name: string, help: string, labelNames: string[], samples: () => Sample[]) =>
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset()
        for (const [labels, value] of samples()) this.inc(labels, value)
      }
    })
  const single = (value: () => number) => (): Sample[] => [[{}, value()]]
  const perWorker = (value: (worker: ConnectedWorker) => number) => (): Sample[] =>
    pool.state.workers.map((worker) => [{ worker: worker.name }, value(worker)])

  total(
    'easel_requests_accepted_total',
    'Requests accepted. Always succeeded + failed + cancelled + expired + in flight.',
    [],
    single(() => ledger.accepted)
  )
  total('easel_requests_total', 'Accepted requests that ended, by outcome.', ['outcome'], () =>
    OUTCOMES.map((outcome) => [{ outcome }, ledger.ended[outcome]])
  )
  gauge(
    'easel_requests_in_flight',
    'Requests accepted and not ended.',
    [],
    single(() => ledger.inFlight)
  )
  gauge(
    'easel_queue_depth',
    'Requests waiting for a worker.',
    [],
    single(() => pool.state.queued)
  )
  gauge(
    'easel_backlog_seconds',
    'Seconds until all accepted requests will be done; no sample without a recent step.',
    [],
    () => {
      const seconds = pool.backlogSeconds
      return seconds === undefined ? [] : [[{}, seconds]]
    }
  )
  const perModel = (value: (model: Model) => number | undefined) => (): Sample[] =>
    service.models.flatMap((model) => {
      const number = value(model)
      return model.name === undefined || number === undefined ? [] : [[{ model: model.name }, number]]
    })
  gauge(
    'easel_model_requests_in_flight',
    'Requests accepted and not ended, by model.',
    ['model'],
    perModel(({ ledger }) => ledger.inFlight)
  )
  gauge(
    'easel_model_queue_depth',
    'Requests waiting for a worker of their model.',
    ['model'],
    perModel(({ served }) => served.queued)
  )
  gauge(
    'easel_model_backlog_seconds',
    'Seconds until all accepted requests of a model will be done; no sample without a recent step.',
    ['model'],
    perModel(({ served }) => served.backlogSeconds)
  )
  gauge(
    'easel_backlog_chip_seconds',
    'Chip-seconds that waiting and running requests of a model will still take; without a worker too.',
    ['model'],
    () => service.models.map((model): Sample => [{ model: model.name ?? '' }, service.backlogChipSecondsOf(model)])
  )
  gauge(
    'easel_requests_held',
    'Requests that wait, before they are accepted, until their model has had a worker (HOLD_REQUESTS).',
    [],
    single(() => service.held)
  )
  gauge(
    'easel_model_workers_ready',
    'Workers that are connected, alive, and have the current weights of the model.',
    ['model'],
    perModel(({ served }) => served.workers.filter((worker) => served.isCurrent(worker)).length)
  )
  gauge(
    'easel_model_swap_seconds',
    'Seconds that loading a model onto the device that it shares took the last time.',
    ['model'],
    perModel(({ served }) => served.swapSeconds)
  )
  const used = () =>
    service.models.flatMap(({ name, served }) => (name === undefined ? [] : [{ model: name, ...served.usage }]))
  total(
    'easel_chip_seconds_total',
    'Chip-seconds used, by key, model and kind of work.',
    ['key', 'model', 'kind'],
    () =>
      used().flatMap(({ model, lines }) =>
        lines.map(({ key, kind, chipSeconds }): Sample => [{ key, model, kind }, chipSeconds])
      )
  )
  total('easel_busy_chip_seconds_total', 'Chip-seconds that workers were busy.', ['model'], () =>
    used().map(({ model, busy }): Sample => [{ model }, busy])
  )
  gauge('easel_in_flight_chip_seconds', 'Chip-seconds used for images that have not ended.', ['model'], () =>
    used().map(({ model, inFlight }): Sample => [{ model }, inFlight])
  )
  gauge(
    'easel_worker_info',
    'The model of each connected worker; always 1.',
    ['worker', 'model', 'digest', 'dtype'],
    () =>
      pool.state.workers.map(({ name, hello: { model } }): Sample => [
        { worker: name, model: model.id, digest: model.digest, dtype: model.dtype },
        1
      ])
  )
  gauge(
    'easel_idempotency_keys',
    'Requests stored under an idempotency key.',
    [],
    single(() => service.keysKnown)
  )
  gauge(
    'easel_clients',
    'Clients that wait for a request, read its answer, or watch it.',
    [],
    single(() => service.clients)
  )
  gauge('easel_jobs', 'Durable jobs in the store, by status.', ['status'], () => [
    [{ status: 'queued' }, store.counts.queued],
    [{ status: 'running' }, store.counts.running],
    [{ status: 'ended' }, store.counts.ended]
  ])
  gauge(
    'easel_jobs_limit',
    'Most jobs in the store (JOB_LIMIT).',
    [],
    single(() => store.bounds.jobs)
  )
  gauge(
    'easel_jobs_making',
    'Jobs that this gateway makes.',
    [],
    single(() => consumer.making)
  )
  gauge(
    'easel_batches',
    'Batches in the store that have not ended.',
    [],
    single(() => store.records.counts.open)
  )
  gauge(
    'easel_batches_working',
    'Batches that this gateway works on.',
    [],
    single(() => batches.working)
  )
  gauge(
    'easel_job_bytes',
    'Bytes of jobs in the store, with their pictures and images, of files and of batches.',
    [],
    single(() => store.counts.bytes)
  )
  gauge(
    'easel_job_bytes_limit',
    'Most bytes of them (JOB_BYTES).',
    [],
    single(() => store.bounds.bytes)
  )
  gauge(
    'easel_webhooks_waiting',
    'Jobs and batches in the store whose end is still to be told to their webhook.',
    [],
    single(() => store.webhooks.waiting)
  )
  gauge(
    'easel_job_store_up',
    'Whether the job store answers.',
    [],
    single(() => Number(store.available))
  )
  gauge('easel_memory_bytes', 'Bytes held for clients, by purpose.', ['part'], () =>
    PARTS.map((part) => [{ part }, memory.used(part)])
  )
  gauge(
    'easel_memory_limit_bytes',
    'Most bytes that a part may hold; pixels, files and answers share one limit.',
    ['part'],
    () => PARTS.map((part) => [{ part }, memory.most(part)])
  )
  gauge(
    'easel_picture_disk_bytes',
    "Bytes of clients' pictures on the disk.",
    [],
    single(() => uploads.bytes)
  )
  gauge(
    'easel_picture_disk_limit_bytes',
    'Most bytes of them (PICTURE_DISK).',
    [],
    single(() => uploads.maxBytes)
  )
  gauge(
    'easel_picture_files',
    "Clients' pictures on the disk.",
    [],
    single(() => uploads.files)
  )
  gauge(
    'easel_queue_limit',
    'Most requests in flight, all models together.',
    [],
    single(() => service.queueLimit)
  )
  gauge(
    'easel_workers_ready',
    'Workers that are connected and alive.',
    [],
    single(() => pool.state.workers.length)
  )
  total(
    'easel_log_lines_dropped_total',
    'Log lines that could not be written.',
    [],
    single(() => linesDropped(log))
  )
  gauge(
    'easel_workers_expected',
    'Expected number of workers (WORKERS).',
    [],
    single(() => pool.state.workersExpected)
  )

  gauge('easel_connections', 'HTTP connections, by whether they are busy with a request.', ['state'], () => [
    [{ state: 'idle' }, connections.idle],
    [{ state: 'busy' }, connections.busy]
  ])
  gauge(
    'easel_connections_limit',
    'Most HTTP connections at a time.',
    [],
    single(() => connections.limit)
  )
  total(
    'easel_connections_closed_total',
    'HTTP connections closed at the limit: idle ones replaced by newer ones, or new ones because all were busy (full).',
    ['reason'],
    () => [
      [{ reason: 'idle' }, connections.closed.idle],
      [{ reason: 'full' }, connections.closed.full]
    ]
  )

  gauge(
    'easel_rows',
    'Rows of one denoising step of the worker; each size has its own.',
    ['worker'],
    perWorker(({ hello }) => hello.rows)
  )
  total(
    'easel_steps_total',
    'Denoising steps since the worker started.',
    ['worker'],
    perWorker(({ heartbeat }) => heartbeat?.steps_total ?? 0)
  )
  gauge(
    'easel_rows_in_use',
    'Rows in use at the last heartbeat, over all sizes.',
    ['worker'],
    perWorker(({ heartbeat }) => heartbeat?.rows_in_use ?? 0)
  )
  total(
    'easel_rows_padded_total',
    'Padding rows computed since the worker started, to fill a compiled shape.',
    ['worker'],
    perWorker(({ heartbeat }) => heartbeat?.rows_padded_total ?? 0)
  )
  total(
    'easel_not_finite_total',
    'Images that failed because of NaN or infinity since the worker started, by the stage where it was first seen.',
    ['worker', 'stage'],
    () =>
      pool.state.workers.flatMap(({ name, heartbeat }) =>
        Object.entries(heartbeat?.not_finite ?? {}).map(([stage, count]): Sample => [{ worker: name, stage }, count])
      )
  )
  const perLoraWorker = (value: (sets: LoraSets) => number) => (): Sample[] =>
    pool.state.workers.flatMap(({ name, heartbeat }): Sample[] =>
      heartbeat?.lora_sets === undefined ? [] : [[{ worker: name }, value(heartbeat.lora_sets)]]
    )
  gauge(
    'easel_lora_sets',
    'Copies of the weights with LoRAs that are on the devices.',
    ['worker'],
    perLoraWorker(({ held }) => held)
  )
  total(
    'easel_lora_merges_total',
    'Copies of weights with LoRAs made since the worker started: each is a switch to other LoRAs.',
    ['worker'],
    perLoraWorker(({ merges_total: merges }) => merges)
  )
  total(
    'easel_lora_merge_seconds_total',
    'Seconds that the host took to make them.',
    ['worker'],
    perLoraWorker(({ merge_seconds_total: seconds }) => seconds)
  )
  gauge(
    'easel_lora_images_preparing',
    'Images that wait until their LoRAs are merged.',
    ['worker'],
    perLoraWorker(({ preparing }) => preparing)
  )
  const perDevice = (value: (memory: DeviceMemory) => number) => (): Sample[] =>
    pool.state.workers.flatMap(({ name, heartbeat }) =>
      (heartbeat?.memory ?? []).map((memory): Sample => [
        { worker: name, device: String(memory.device) },
        value(memory)
      ])
    )
  gauge(
    'easel_device_memory_bytes',
    'Memory in use on a device at the last heartbeat.',
    ['worker', 'device'],
    perDevice(({ bytes_in_use }) => bytes_in_use)
  )
  gauge(
    'easel_device_memory_limit_bytes',
    'Memory limit of a device.',
    ['worker', 'device'],
    perDevice(({ bytes_limit }) => bytes_limit)
  )
}
