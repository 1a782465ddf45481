import type { Log } from '../logger.js'
import type { PoolObserver, LossCause } from './events.js'
import { type Decode } from './codec.js'
import type { Peer, PeerOf } from './curve.js'
import type { TickCounter } from './ticks.js'
import {
  type GatewayMessage,
  type Heartbeat,
  type Hello,
  MalformedMessage,
  pack,
  type WorkerMessage
} from './protocol.js'
import { nameRefusal } from './name-refusal.js'
import { LISTS, withHeartbeat } from './sizes.js'

/** A worker whose HELLO was accepted. */
export interface ConnectedWorker {
  readonly name: string
  /** The routing id of its connection: its name, unless the socket knows who is behind a connection. */
  readonly peer: string
  readonly holder: Peer | undefined
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
  /** Who is behind a peer; undefined where a worker's name is its routing id. */
  peerOf: PeerOf | undefined
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
const MAX_LOGGED = 1000

/**
 * Tracks which workers are connected and alive.
 *
 * Handles every message of the socket: answers HELLO, sends pings, and passes on messages about requests. Calls
 * `onLost` exactly once for each `onReady`.
 */
export class WorkerRegistry {
  readonly #options: RegistryOptions
  readonly #workers = new Map<string, ConnectedWorker>()
  /** By their connections. */
  readonly #peers = new Map<string, ConnectedWorker>()
  readonly #logged = new Set<string>()
  #sessions = 0

  constructor(options: RegistryOptions) {
    this.#options = options
  }

  get workers(): ReadonlyMap<string, ConnectedWorker> {
    return this.#workers
  }

  /** Sends to a worker. One that is not connected may still hear it where its name is its routing id. */
  send(name: string, message: GatewayMessage): void {
    const peer = this.#workers.get(name)?.peer ?? (this.#options.peerOf === undefined ? name : undefined)
    if (peer !== undefined) this.#send(peer, message)
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
    else if (this.#mayGreet(peer, message.header)) this.#hello(peer, message.header)
    else this.#misnamedPeer(peer, message.header)
  }

  /** Pings live workers and judges silent, hung and unreachable ones. Call it once per tick. */
  tick(): void {
    for (const worker of this.#workers.values()) {
      if (this.#fault(worker) !== undefined) void this.#loseIfStillFaulty(worker)
      else this.#send(worker.peer, { kind: 'PING', header: { session: worker.session } })
    }
  }

  /** A message to a worker could not be delivered. Unless it reconnects or its process exits soon, it is lost. */
  unreachable(peer: string): void {
    const worker = this.#peers.get(peer)
    if (worker !== undefined) worker.unreachableTick ??= this.#options.ticks.now
  }

  /** Removes a worker and reports its loss. Does nothing if it is not connected. */
  lose(name: string, cause: LossCause): void {
    const worker = this.#workers.get(name)
    if (worker === undefined) return
    this.#workers.delete(name)
    this.#peers.delete(worker.peer)
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

  #send(peer: string, message: GatewayMessage): void {
    this.#options.send(peer, pack(message))
  }

  /** Whether a HELLO may be one of this connection. */
  #mayGreet(peer: string, { worker: name }: Hello): boolean {
    const { peerOf } = this.#options
    if (peerOf === undefined) return name === peer
    const holder = peerOf(peer)
    const known = this.#workers.get(name)?.holder
    // A connection has one worker, and a worker's earlier connections are over.
    const late = holder !== undefined && known?.key === holder.key && known.connection > holder.connection
    return holder !== undefined && !late && (this.#peers.get(peer)?.name ?? name) === name
  }

  #hello(peer: string, hello: Hello): void {
    const { log, observer, ticks, now, peerOf } = this.#options
    const name = hello.worker
    const holder = peerOf?.(peer)
    if (holder !== undefined && this.#refusesName(name, peer, holder)) return
    const refusal = this.#options.refusal(name, hello)
    if (refusal !== undefined) {
      // Its connection took over the name, so the worker that had it is gone: requeue that worker's tasks.
      if (holder === undefined || this.#peers.has(peer)) this.lose(name, 'replaced')
      const { code, message, ...fields } = refusal
      log.error({ worker: name, ...fields }, `worker ${name} refused: ${message}`)
      this.#send(peer, { kind: 'REFUSED', header: { code, message } })
      return
    }
    const known = this.#workers.get(name)
    if (known?.peer === peer && known.hello.pid === hello.pid && known.heartbeat === undefined) {
      // It repeated HELLO before our WELCOME reached it.
      this.#welcome(known)
      return
    }
    // Not lost before: a new process under the same name, or a worker that dropped its session.
    this.lose(name, 'replaced')
    const session = this.#newSession()
    const worker: ConnectedWorker = {
      name,
      peer,
      holder,
      hello,
      session,
      heartbeat: undefined,
      heardAt: now(),
      heardTick: ticks.now,
      progressTick: ticks.now,
      unreachableTick: undefined
    }
    this.#workers.set(name, worker)
    this.#peers.set(peer, worker)
    this.#welcome(worker)
    observer.hello(name, hello)
    log.info(
      {
        worker: name,
        pid: hello.pid,
        model: hello.model,
        sizes: hello.sizes,
        rows: hello.rows,
        devices: hello.devices
      },
      `worker ${name} is ready: ${hello.model.id} on ${hello.devices.length} × ${hello.devices[0]?.kind ?? 'nothing'}`
    )
    this.#options.onReady(worker)
  }

  /** Refuses a worker whose name is another's, or not one for its key. */
  #refusesName(name: string, peer: string, holder: Peer): boolean {
    const owner = this.#workers.get(name)?.holder?.key
    const refusal = nameRefusal(name, holder, owner)
    if (refusal === undefined) return false
    const { key } = holder
    this.#options.observer.peerRefused('name')
    this.#logOnce(`${key} ${name}`, (log) => log.error({ worker: name, key, owner }, refusal.logged))
    this.#send(peer, { kind: 'REFUSED', header: { code: 'name', message: refusal.told } })
    return true
  }

  /** Usually a late HELLO over a connection that the worker has replaced; ZeroMQ renamed the old connection. */
  #misnamedPeer(peer: string, { worker }: Hello): void {
    this.#options.observer.malformed('unknown_peer')
    this.#options.log.debug(
      { peer: this.#shown(peer) },
      `dropped the HELLO of a worker ${shown(worker)}: its connection is named ${this.#shown(peer)}`
    )
  }

  #welcome({ peer, session }: ConnectedWorker): void {
    this.#send(peer, { kind: 'WELCOME', header: { session, heartbeat_ms: this.#options.heartbeatInterval } })
  }

  #fromWorker(peer: string, message: Exclude<WorkerMessage, { kind: 'HELLO' }>): void {
    const worker = this.#peers.get(peer)
    if (worker === undefined) {
      if (this.#mayHaveForgotten(peer, message.kind)) this.#askForHello(peer)
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
      this.#askForHello(worker.peer)
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

  /**
   * Whether a message that no worker sends without a session may come from one. Where connections have ids of their own, a
   * session ends with its connection: what was on its way then is lost.
   */
  #mayHaveForgotten(peer: string, kind: WorkerMessage['kind']): boolean {
    const { peerOf } = this.#options
    if (peerOf === undefined) return kind === 'HEARTBEAT' && !peer.startsWith(UNNAMED)
    return kind !== 'BYE' && peerOf(peer) !== undefined
  }

  /** Pings with an unknown session: a worker that was lost, or outlived another gateway, then sends HELLO again. */
  #askForHello(peer: string): void {
    this.#send(peer, { kind: 'PING', header: { session: this.#newSession() } })
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
      this.#send(peer, { kind: 'REFUSED', header: { code: 'protocol', message: error.message } })
    }
    const name = this.#shown(peer)
    this.#logOnce(name, (log) =>
      log.error({ peer: name, reason: error.reason }, `dropped a malformed message from ${name}: ${error.message}`)
    )
  }

  #logOnce(what: string, write: (log: Log) => void): void {
    if (this.#logged.has(what) || this.#logged.size >= MAX_LOGGED) return
    this.#logged.add(what)
    write(this.#options.log)
  }

  /** A peer in logs: its key, or its routing id. */
  #shown(peer: string): string {
    return shown(this.#options.peerOf?.(peer)?.key ?? peer)
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
