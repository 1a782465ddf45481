import type { Log } from '../logger.js'
import type { PoolObserver, LossCause } from './events.js'
import { type Decode } from './codec.js'
import type { TickCounter } from './ticks.js'
import {
  type GatewayMessage,
  type Heartbeat,
  type Hello,
  MalformedMessage,
  pack,
  type WorkerMessage
} from './protocol.js'
import { LISTS, withHeartbeat } from './sizes.js'

/** A worker whose HELLO was accepted. */
export interface ConnectedWorker {
  readonly name: string
  /** Its HELLO, updated by later heartbeats. */
  hello: Hello
  /** Identifies this connection: sent in WELCOME and repeated in every heartbeat. */
  readonly session: string
  heartbeat: Heartbeat | undefined
  /** Time of its last message, in ms. For display only: `heardTick` decides whether it is silent. */
  heardAt: number
  /** Tick of its last message. */
  heardTick: number
  /** Tick at which a step last finished or the rows were last idle, as far as heartbeats show. */
  progressTick: number
  /** Tick of the first failed delivery. */
  unreachableTick: number | undefined
}

export interface RegistryOptions {
  /** Identifies this gateway process; prefix of every session. */
  process: string
  /** ms */
  heartbeatInterval: number
  /** Advanced before each call of `tick`. */
  ticks: TickCounter
  /** ms of silence after which a worker is lost */
  heartbeatTimeout: number
  /** ms without a finished step, while rows are in use, after which a worker is hung */
  stepTimeout: number
  /** Why a worker of this name and HELLO is refused, or undefined. */
  refusal: (worker: string, hello: Hello) => Refusal | undefined
  decode: Decode
  send: (peer: string, frames: readonly Uint8Array[]) => void
  /** Resolves when all received messages are read. */
  received: () => Promise<void>
  log: Log
  observer: PoolObserver
  /** Monotonic clock in ms. */
  now: () => number
  onReady: (worker: ConnectedWorker) => void
  /** It has other sizes, features, chunks or files (`LISTS`) than before, or other ones are coming. */
  onGrown: (worker: ConnectedWorker) => void
  onLost: (worker: ConnectedWorker, cause: LossCause) => void
  onMessage: (worker: ConnectedWorker, message: WorkMessage) => void
}

/** Why a worker is refused: the REFUSED message, and the two values that differ, for the log. */
export interface Refusal {
  readonly code: 'tokenizer' | 'model'
  readonly message: string
  readonly theirs: unknown
  readonly ours: unknown
}

/** Messages about requests. The registry handles all others itself. */
export type WorkMessage = Extract<WorkerMessage, { kind: 'PROGRESS' | 'RESULT' | 'FAILED' }>

/**
 * How long to wait for the real reason that a worker is unreachable (its process's exit, its HELLO over another
 * connection) before it is lost, in ms.
 */
const CAUSE_WAIT_MS = 500

/** First byte of routing ids that ZeroMQ assigns: to unnamed peers, and to connections whose name a newer one took. */
const UNNAMED = '\0'

/** Most peers remembered as already logged. Bounded, so that strangers cannot fill the memory. */
const MAX_LOGGED_PEERS = 1000

/**
 * Tracks which workers are connected and alive.
 *
 * Handles every message of the socket: answers HELLO, sends pings, and passes on messages about requests. Calls
 * `onLost` exactly once for each `onReady`.
 */
export class WorkerRegistry {
  readonly #options: RegistryOptions
  readonly #workers = new Map<string, ConnectedWorker>()
  readonly #loggedPeers = new Set<string>()
  #sessions = 0

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  get workers(): ReadonlyMap<string, ConnectedWorker> {
    return this.#workers
  }

  send(peer: string, message: GatewayMessage): void {
    this.#options.send(peer, pack(message))
  }

  /** Handles one message from the socket. Malformed ones are counted, and logged once per peer. */
  receive(peer: string, frames: readonly Uint8Array[]): void {
    let message: WorkerMessage
    try {
      message = this.#options.decode(frames)
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error
      this.#reject(peer, error)
      return
    }
    if (message.kind !== 'HELLO') this.#fromWorker(peer, message)
    else if (message.header.worker === peer) this.#hello(peer, message.header)
    else this.#misnamedPeer(peer, message.header)
  }

  /** Pings live workers and judges silent, hung and unreachable ones. Call it once per tick. */
  tick(): void {
    for (const worker of this.#workers.values()) {
      if (this.#fault(worker) !== undefined) void this.#loseIfStillFaulty(worker)
      else this.send(worker.name, { kind: 'PING', header: { session: worker.session } })
    }
  }

  /** A message to a worker could not be delivered. Unless it reconnects or its process exits soon, it is lost. */
  unreachable(name: string): void {
    const worker = this.#workers.get(name)
    if (worker !== undefined) worker.unreachableTick ??= this.#options.ticks.now
  }

  /** Removes a worker and reports its loss. Does nothing if it is not connected. */
  lose(name: string, cause: LossCause): void {
    const worker = this.#workers.get(name)
    if (worker === undefined) return
    this.#workers.delete(name)
    this.#options.observer.workerLost(name, cause)
    if (cause !== 'left') this.#options.log.warn({ worker: name, cause }, `lost worker ${name}: ${cause}`)
    this.#options.onLost(worker, cause)
  }

  #fault({ heartbeat, heardTick, progressTick, unreachableTick }: ConnectedWorker): LossCause | undefined {
    const { ticks, heartbeatTimeout, stepTimeout } = this.#options
    if (ticks.passed(heardTick, heartbeatTimeout)) return 'silent'
    if ((heartbeat?.rows_in_use ?? 0) > 0 && ticks.passed(progressTick, stepTimeout)) return 'hung'
    if (unreachableTick !== undefined && ticks.passed(unreachableTick, CAUSE_WAIT_MS)) return 'unreachable'
    return undefined
  }

  /** Loses a worker if its fault remains once all received messages are read: the gateway itself may have stalled. */
  async #loseIfStillFaulty(worker: ConnectedWorker): Promise<void> {
    await this.#options.received()
    const fault = this.#fault(worker)
    if (fault !== undefined && this.#workers.get(worker.name) === worker) this.lose(worker.name, fault)
  }

  #hello(peer: string, hello: Hello): void {
    const { log, observer, ticks, now } = this.#options
    const refusal = this.#options.refusal(peer, hello)
    if (refusal !== undefined) {
      // Its connection took over the name, so the worker that had it is gone: requeue that worker's tasks.
      this.lose(peer, 'replaced')
      const { code, message, ...fields } = refusal
      log.error({ worker: peer, ...fields }, `worker ${peer} refused: ${message}`)
      this.send(peer, { kind: 'REFUSED', header: { code, message } })
      return
    }
    const known = this.#workers.get(peer)
    if (known?.hello.pid === hello.pid && known.heartbeat === undefined) {
      // It repeated HELLO before our WELCOME reached it.
      this.#welcome(known)
      return
    }
    // Not lost before: a new process under the same name, or a worker that dropped its session.
    this.lose(peer, 'replaced')
    const session = this.#newSession()
    const worker: ConnectedWorker = {
      name: peer,
      hello,
      session,
      heartbeat: undefined,
      heardAt: now(),
      heardTick: ticks.now,
      progressTick: ticks.now,
      unreachableTick: undefined
    }
    this.#workers.set(peer, worker)
    this.#welcome(worker)
    observer.hello(peer, hello)
    log.info(
      {
        worker: peer,
        pid: hello.pid,
        model: hello.model,
        sizes: hello.sizes,
        rows: hello.rows,
        devices: hello.devices
      },
      `worker ${peer} is ready: ${hello.model.id} on ${hello.devices.length} × ${hello.devices[0]?.kind ?? 'nothing'}`
    )
    this.#options.onReady(worker)
  }

  /** Usually a late HELLO over a connection that the worker has replaced; ZeroMQ renamed the old connection. */
  #misnamedPeer(peer: string, { worker }: Hello): void {
    this.#options.observer.malformed('unknown_peer')
    this.#options.log.debug(
      { peer: shown(peer) },
      `dropped the HELLO of a worker ${shown(worker)}: its connection is named ${shown(peer)}`
    )
  }

  #welcome({ name, session }: ConnectedWorker): void {
    this.send(name, { kind: 'WELCOME', header: { session, heartbeat_ms: this.#options.heartbeatInterval } })
  }

  #fromWorker(peer: string, message: Exclude<WorkerMessage, { kind: 'HELLO' }>): void {
    const worker = this.#workers.get(peer)
    if (worker === undefined) {
      if (message.kind === 'HEARTBEAT' && !peer.startsWith(UNNAMED)) this.#askForHello(peer)
      return
    }
    worker.heardAt = this.#options.now()
    worker.heardTick = this.#options.ticks.now
    if (message.kind === 'HEARTBEAT') this.#heartbeat(worker, message.header)
    else if (message.kind === 'BYE') this.#bye(worker, message.header.reason)
    else this.#options.onMessage(worker, message)
  }

  #heartbeat(worker: ConnectedWorker, heartbeat: Heartbeat): void {
    if (heartbeat.session !== worker.session) {
      this.lose(worker.name, 'session')
      this.#askForHello(worker.name)
      return
    }
    const moved = heartbeat.steps_total !== worker.heartbeat?.steps_total
    const wasIdle = (worker.heartbeat?.rows_in_use ?? 0) === 0
    if (moved || wasIdle || heartbeat.rows_in_use === 0) worker.progressTick = worker.heardTick
    worker.heartbeat = heartbeat
    for (const ms of heartbeat.step_ms) this.#options.observer.step(worker.name, ms / 1000)
    this.#grow(worker, heartbeat)
  }

  /** A worker sends HELLO once its first size is compiled, and reports in heartbeats what it compiles later. */
  #grow(worker: ConnectedWorker, heartbeat: Heartbeat): void {
    const grown = withHeartbeat(worker.hello, heartbeat)
    if (grown === undefined) return
    const news = newsOf(worker.hello, grown)
    worker.hello = grown
    const { sizes, features, limits } = grown
    this.#options.log.info(
      {
        worker: worker.name,
        sizes,
        features,
        max_chunks: limits.max_chunks,
        ...Object.fromEntries(LISTS.map((list) => [list, grown[list]?.length ?? 0]))
      },
      news.length === 0
        ? `worker ${worker.name} offers the same as before, and has given up what it could not compile`
        : `worker ${worker.name} now offers ${news.join(', ')}`
    )
    this.#options.onGrown(worker)
  }

  /** Pings with an unknown session: a worker that was lost, or outlived another gateway, then sends HELLO again. */
  #askForHello(peer: string): void {
    this.send(peer, { kind: 'PING', header: { session: this.#newSession() } })
  }

  #newSession(): string {
    this.#sessions += 1
    return `${this.#options.process}.${this.#sessions}`
  }

  #bye(worker: ConnectedWorker, reason: string): void {
    this.#options.log.info({ worker: worker.name, reason }, `worker ${worker.name} is leaving: ${reason}`)
    this.lose(worker.name, 'left')
  }

  #reject(peer: string, error: MalformedMessage): void {
    this.#options.observer.malformed(error.reason)
    if (error.reason === 'version') {
      this.send(peer, { kind: 'REFUSED', header: { code: 'protocol', message: error.message } })
    }
    if (this.#loggedPeers.has(peer) || this.#loggedPeers.size >= MAX_LOGGED_PEERS) return
    this.#loggedPeers.add(peer)
    this.#options.log.error(
      { peer: shown(peer), reason: error.reason },
      `dropped a malformed message from ${shown(peer)}: ${error.message}`
    )
  }
}

/** Escapes and shortens a routing id for logs: a peer chooses its bytes. */
function shown(peer: string): string {
  return JSON.stringify(peer.slice(0, 64))
}

const SHOWN = {
  loras: 'LoRAs',
  embeddings: 'embeddings',
  controls: 'control nets',
  ip_adapters: 'IP-Adapters'
} as const

/** What a worker offers that it did not offer before, in words. */
function newsOf(before: Hello, now: Hello): string[] {
  const sizes = now.sizes.filter(([w, h]) => !before.sizes.some(([width, height]) => width === w && height === h))
  const features = (now.features ?? []).filter((feature) => !(before.features ?? []).includes(feature))
  const chunks = now.limits.max_chunks ?? 1
  const listed = LISTS.filter((list) => JSON.stringify(now[list]) !== JSON.stringify(before[list]))
  return [
    ...sizes.map((size) => size.join('x')),
    ...features,
    ...(chunks === (before.limits.max_chunks ?? 1) ? [] : [`prompts of up to ${chunks} chunks`]),
    ...listed.map((list) => `${now[list]?.length ?? 0} ${SHOWN[list]}`)
  ]
}
