import type { Log } from '../logger.js'
import type { EngineObserver, LossCause } from './events.js'
import { type Decode } from './codec.js'
import { allRead, type Looks } from './looks.js'
import { nameOf, sameModel } from './models.js'
import {
  type GatewayMessage,
  type Heartbeat,
  type Hello,
  MalformedMessage,
  pack,
  type WorkerMessage
} from './protocol.js'
import { withSizes } from './sizes.js'

/** A worker that said HELLO and was welcomed. */
export interface ConnectedWorker {
  readonly name: string
  /** What it said, with the sizes that it has now. */
  hello: Hello
  /** Names this connection: one WELCOME and what follows it. */
  readonly session: string
  heartbeat: Heartbeat | undefined
  /** Clock at its last message, in ms. For show: whether it is silent, looks decide. */
  heardAt: number
  /** Look at its last message. */
  heardLook: number
  /** Look when a step was last seen to finish, or when rows were last empty. */
  progressLook: number
  /** Look when a message could first not be delivered to it. */
  unreachableLook: number | undefined
}

export interface RegistryOptions {
  /** Names this gateway process; each connection's session starts with it. */
  process: string
  /** ms */
  heartbeatInterval: number
  /** Counted on before each `tick`. */
  looks: Looks
  /** ms of silence that mean death */
  heartbeatTimeout: number
  /** ms without a step, with rows in use, that mean a hang */
  stepTimeout: number
  /** Digests of the gateway's own tokenizers, in order; a worker with others is refused. */
  tokenizers: readonly string[]
  decode: Decode
  send: (peer: string, frames: readonly Uint8Array[]) => void
  log: Log
  observer: EngineObserver
  /** Monotonic clock in ms. */
  now: () => number
  onReady: (worker: ConnectedWorker) => void
  /** It has compiled another size. */
  onSizes: (worker: ConnectedWorker) => void
  onLost: (worker: ConnectedWorker, cause: LossCause) => void
  onMessage: (worker: ConnectedWorker, message: WorkMessage) => void
}

/** The messages that concern requests; all others end in the registry. */
export type WorkMessage = Extract<WorkerMessage, { kind: 'PROGRESS' | 'RESULT' | 'FAILED' }>

/** How long other news of a worker that cannot be reached may take (its process's exit, its HELLO over another connection), in ms. */
const OTHER_NEWS_MS = 500

/** ZeroMQ's own names begin with it: of peers without a name, and of a connection whose name a newer one has taken over. */
const UNNAMED = '\0'

/** Peers whose garbage was logged; bounded, so that strangers cannot make it grow. */
const MAX_KNOWN_OFFENDERS = 1000

/**
 * Knows which workers are connected and alive.
 *
 * Takes every message of the socket, answers the handshake and the heartbeats, and passes on what concerns
 * requests. It says `onLost` exactly once for each `onReady`.
 */
export class WorkerRegistry {
  readonly #options: RegistryOptions
  readonly #workers = new Map<string, ConnectedWorker>()
  readonly #offenders = new Set<string>()
  /** The model of the workers that are connected, or were last. */
  #model: Hello['model'] | undefined
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

  /** Takes one message from the socket. Never throws: what cannot be read is counted and logged once for each peer. */
  receive(peer: string, frames: readonly Uint8Array[]): void {
    let message: WorkerMessage
    try {
      message = this.#options.decode(frames)
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error
      this.#reject(peer, error)
      return
    }
    if (message.kind !== 'HELLO') this.#known(peer, message)
    else if (message.header.worker === peer) this.#hello(peer, message.header)
    else this.#stranger(peer, message.header)
  }

  /** Pings everyone and finds the dead and the hung. To be called once for each look. */
  tick(): void {
    for (const worker of this.#workers.values()) {
      if (this.#fault(worker) !== undefined) void this.#judge(worker)
      else this.send(worker.name, { kind: 'PING', header: { session: worker.session } })
    }
  }

  /** A message to a worker could not be delivered. It is lost unless there is other news of it soon. */
  unreachable(name: string): void {
    const worker = this.#workers.get(name)
    if (worker !== undefined) worker.unreachableLook ??= this.#options.looks.now
  }

  /** Forgets a worker and says so; does nothing for one that is not connected. */
  lose(name: string, cause: LossCause): void {
    const worker = this.#workers.get(name)
    if (worker === undefined) return
    this.#workers.delete(name)
    this.#options.observer.workerLost(name, cause)
    if (cause !== 'left') this.#options.log.warn({ worker: name, cause }, `worker ${name} is lost: ${cause}`)
    this.#options.onLost(worker, cause)
  }

  #fault({ heartbeat, heardLook, progressLook, unreachableLook }: ConnectedWorker): LossCause | undefined {
    const { looks, heartbeatTimeout, stepTimeout } = this.#options
    if (looks.over(heardLook, heartbeatTimeout)) return 'silent'
    if ((heartbeat?.rows_in_use ?? 0) > 0 && looks.over(progressLook, stepTimeout)) return 'hung'
    if (unreachableLook !== undefined && looks.over(unreachableLook, OTHER_NEWS_MS)) return 'unreachable'
    return undefined
  }

  /** What speaks for the worker may lie unread, as when the gateway has just stood still. */
  async #judge(worker: ConnectedWorker): Promise<void> {
    await allRead()
    const fault = this.#fault(worker)
    if (fault !== undefined && this.#workers.get(worker.name) === worker) this.lose(worker.name, fault)
  }

  #hello(peer: string, hello: Hello): void {
    const { log, observer, looks, now } = this.#options
    const refusal = this.#refusal(peer, hello)
    if (refusal !== undefined) {
      // Its connection has taken the name: what the worker before it had is to be done by others.
      this.lose(peer, 'replaced')
      const { code, message, ...fields } = refusal
      log.error({ worker: peer, ...fields }, `worker ${peer} refused: ${message}`)
      this.send(peer, { kind: 'REFUSED', header: { code, message } })
      return
    }
    const known = this.#workers.get(peer)
    if (known?.hello.pid === hello.pid && known.heartbeat === undefined) {
      // It asked again before our answer reached it.
      this.#welcome(known)
      return
    }
    // Without a loss in between: a new process under the same name, or a worker that missed our last session.
    this.lose(peer, 'replaced')
    const session = this.#newSession()
    const worker: ConnectedWorker = {
      name: peer,
      hello,
      session,
      heartbeat: undefined,
      heardAt: now(),
      heardLook: looks.now,
      progressLook: looks.now,
      unreachableLook: undefined
    }
    this.#workers.set(peer, worker)
    this.#welcome(worker)
    this.#learnModel(hello.model)
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

  /** Why a worker is not taken. Workers of two models would make different images of the same request. */
  #refusal(
    peer: string,
    { tokenizers, model: theirs }: Hello
  ): { code: 'tokenizer' | 'model'; message: string; theirs: unknown; ours: unknown } | undefined {
    const digests = tokenizers.map(({ digest }) => digest)
    const ours = this.#options.tokenizers
    if (digests.length !== ours.length || digests.some((digest, index) => digest !== ours[index])) {
      return {
        code: 'tokenizer',
        message: `the worker's model has other tokenizers than the gateway's MODEL folder; give both the same model`,
        theirs: digests,
        ours
      }
    }
    const other = [...this.#workers.values()].find(
      ({ name, hello }) => name !== peer && !sameModel(hello.model, theirs)
    )
    if (other === undefined) return undefined
    const { model } = other.hello
    return {
      code: 'model',
      message: `the worker has the model ${nameOf(theirs)}, and worker ${other.name} has ${nameOf(model)}; restart all workers on the same weights`,
      theirs,
      ours: model
    }
  }

  #learnModel(model: Hello['model']): void {
    const before = this.#model
    this.#model = model
    if (before === undefined || sameModel(before, model)) return
    this.#options.log.warn({ before, model }, `the model has changed from ${nameOf(before)} to ${nameOf(model)}`)
  }

  /** Mostly what a worker said over a connection that it has left for another since: ZeroMQ has given the old one a new name. */
  #stranger(peer: string, { worker }: Hello): void {
    this.#options.observer.malformed('unknown_peer')
    this.#options.log.debug(
      { peer: shown(peer) },
      `dropped the HELLO of a worker ${shown(worker)} over a connection of the name ${shown(peer)}`
    )
  }

  #welcome({ name, session }: ConnectedWorker): void {
    this.send(name, { kind: 'WELCOME', header: { session, heartbeat_ms: this.#options.heartbeatInterval } })
  }

  #known(peer: string, message: Exclude<WorkerMessage, { kind: 'HELLO' }>): void {
    const worker = this.#workers.get(peer)
    if (worker === undefined) {
      if (message.kind === 'HEARTBEAT' && !peer.startsWith(UNNAMED)) this.#askForHello(peer)
      return
    }
    worker.heardAt = this.#options.now()
    worker.heardLook = this.#options.looks.now
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
    if (moved || wasIdle || heartbeat.rows_in_use === 0) worker.progressLook = worker.heardLook
    worker.heartbeat = heartbeat
    for (const ms of heartbeat.step_ms) this.#options.observer.step(worker.name, ms / 1000)
    if (heartbeat.sizes !== undefined && heartbeat.sizes.length !== worker.hello.sizes.length)
      this.#sizes(worker, heartbeat.sizes)
  }

  /** A worker says HELLO as soon as it has one size, and compiles the others behind it. */
  #sizes(worker: ConnectedWorker, sizes: Hello['sizes']): void {
    worker.hello = withSizes(worker.hello, sizes)
    this.#options.log.info({ worker: worker.name, sizes }, `worker ${worker.name} has ${sizes.length} sizes now`)
    this.#options.onSizes(worker)
  }

  /** A worker may have been taken for dead, or have outlived another gateway: a session that it does not know makes it say HELLO again. */
  #askForHello(peer: string): void {
    this.send(peer, { kind: 'PING', header: { session: this.#newSession() } })
  }

  #newSession(): string {
    this.#sessions += 1
    return `${this.#options.process}.${this.#sessions}`
  }

  #bye(worker: ConnectedWorker, reason: string): void {
    this.#options.log.info({ worker: worker.name, reason }, `worker ${worker.name} says goodbye: ${reason}`)
    this.lose(worker.name, 'left')
  }

  #reject(peer: string, error: MalformedMessage): void {
    this.#options.observer.malformed(error.reason)
    if (error.reason === 'version') {
      this.send(peer, { kind: 'REFUSED', header: { code: 'protocol', message: error.message } })
    }
    if (this.#offenders.has(peer) || this.#offenders.size >= MAX_KNOWN_OFFENDERS) return
    this.#offenders.add(peer)
    this.#options.log.error(
      { peer: shown(peer), reason: error.reason },
      `dropped a message of ${shown(peer)}: ${error.message}`
    )
  }
}

/** A routing id is the peer's own bytes: it is shown escaped and short. */
function shown(peer: string): string {
  return JSON.stringify(peer.slice(0, 64))
}
