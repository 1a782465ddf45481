import { onTestFinished } from 'vitest'
import { Dealer } from 'zeromq'
import { type Generate, type Hello, KINDS, type Kind, PROTOCOL_VERSION } from '../../src/workers/protocol.js'
import { idleHeartbeat } from './heartbeat.mjs'

/** A worker without an engine that sends what the test tells it to. It answers pings by itself. */
export class ScriptedWorker {
  /** The jobs that it received, oldest first. */
  readonly jobs: Generate[] = []
  /** The binary frames of each job that it received, oldest first. */
  readonly frames: Buffer[][] = []
  session: string | undefined
  /** Why the gateway refused it. */
  refused: { code: string; message: string } | undefined
  readonly #hello: Hello
  readonly #endpoint: string
  #dealer: Dealer
  /** Its last HELLO. */
  #said: Hello
  #sending: Promise<void> = Promise.resolve()

  /** @param hello its HELLO without name and process id */
  constructor(endpoint: string, name: string, hello: Hello) {
    this.#hello = { ...hello, worker: name, pid: 1 }
    this.#said = this.#hello
    this.#endpoint = endpoint
    this.#dealer = this.#connect()
    onTestFinished(() => this.#dealer.close())
  }

  #connect(): Dealer {
    const dealer = new Dealer({ routingId: this.#hello.worker, linger: 0 })
    dealer.connect(this.#endpoint)
    // The socket may already be closed when a ping arrives just before the end of the test.
    this.#listen(dealer).catch((error: unknown) => {
      if (!dealer.closed) throw error
    })
    return dealer
  }

  /** Closes its connection after sending what is queued. The next `hello` opens another one. */
  async leave(): Promise<void> {
    await this.#sending
    this.#dealer.close()
  }

  /** Reconnects as a new process with the same name, optionally with other HELLO fields. */
  async hello(changes: Partial<Hello> = {}): Promise<void> {
    if (this.#dealer.closed) {
      this.#dealer = this.#connect()
      // A ping may have been answered after the end of the old connection.
      this.#sending = Promise.resolve()
    }
    this.#said = { ...this.#hello, ...changes, pid: this.#said.pid + 1 }
    await this.#sayHello()
  }

  send(kind: Kind, header: object, ...binary: Uint8Array[]): Promise<void> {
    return this.sendFrames([
      Uint8Array.of(KINDS[kind], PROTOCOL_VERSION),
      Buffer.from(JSON.stringify(header)),
      ...binary
    ])
  }

  /** Sends arbitrary frames after those already queued. */
  sendFrames(frames: Uint8Array[]): Promise<void> {
    this.#sending = this.#sending.then(() => this.#dealer.send(frames as Buffer[]))
    return this.#sending
  }

  /** Makes every image that is still pending. Call it again for later ones. */
  async finish(): Promise<void> {
    for (const { id, seeds, width, height } of this.jobs.splice(0)) {
      for (const [image, seed] of seeds.entries()) {
        const timings = { queue_ms: 1, encode_ms: 1, denoise_ms: 1, decode_ms: 1 }
        await this.send('RESULT', { id, image, seed, width, height, timings }, Buffer.alloc(width * height * 3))
      }
    }
  }

  async #listen(dealer: Dealer): Promise<void> {
    for await (const [tag, header, ...frames] of dealer) {
      const kind = tag![0]
      const content = JSON.parse(header!.toString()) as { session?: string }
      if (kind === KINDS.WELCOME) this.session = content.session
      else if (kind === KINDS.REFUSED) this.refused = content as { code: string; message: string }
      else if (kind === KINDS.GENERATE) {
        this.jobs.push(content as Generate)
        this.frames.push(frames)
      } else if (kind === KINDS.PING) await this.#ping(content.session!)
    }
  }

  async #sayHello(): Promise<void> {
    this.session = undefined
    await this.send('HELLO', this.#said)
  }

  async #ping(session: string): Promise<void> {
    // From before its HELLO, whose answer is still in flight.
    if (this.session === undefined) return
    if (session !== this.session) await this.#sayHello()
    else await this.send('HEARTBEAT', idleHeartbeat(session))
  }
}
