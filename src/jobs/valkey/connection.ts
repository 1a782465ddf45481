import { Redis, type RedisOptions } from 'iovalkey'
import { EaselError } from '../../errors.js'
import type { Log } from '../../logger.js'
import { jobsFull } from '../full.js'
import { shownAddress, type ValkeyAddress } from '../../valkey-address.js'
import { RECORD_SCRIPTS } from './record-scripts.js'
import { SCRIPTS } from './scripts.js'

const ALL = { ...SCRIPTS, ...RECORD_SCRIPTS }
type ScriptName = keyof typeof ALL

/** ms that the server may take to answer. A connection on which it takes longer is closed, with all that waits on it. */
const ANSWER_MS = 4000
/** Most ms between two attempts to connect. */
const RECONNECT_MS = 1000
/** `Retry-After` while the store is away: about one restart. */
const RETRY_SECONDS = 5
/** ms between two log lines about the same. */
const LOG_MS = 10_000

type Reply = string | number | Buffer | null | Reply[]
type Argument = string | number | Buffer

/**
 * A connection to a Valkey server, and one for its messages. Nothing waits for a server that is away: commands fail at
 * once then, so neither a frozen nor a restarting server makes requests pile up here.
 */
export class ValkeyConnection {
  readonly #address: ValkeyAddress
  readonly #prefix: string
  readonly #log: Log
  readonly #commands: Redis
  readonly #messages: Redis
  #up = false
  /** Why the server cannot keep jobs although it answers. */
  #problem: string | undefined
  #loggedAt = -Infinity
  #said: string | undefined

  /**
   * @param onMessage gets each message of the channels
   * @param onReady called whenever the connection is new
   */
  constructor(
    address: ValkeyAddress,
    {
      prefix,
      channels,
      log,
      trusted,
      onMessage,
      onReady
    }: {
      prefix: string
      channels: readonly string[]
      log: Log
      trusted: string | undefined
      onMessage: (channel: string, message: string) => void
      onReady: () => void
    }
  ) {
    this.#address = address
    this.#prefix = prefix
    this.#log = log
    const { host, port, db, username, password, tls } = address
    const options: RedisOptions = {
      host,
      port,
      db,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(tls ? { tls: { servername: host, ...(trusted === undefined ? {} : { ca: trusted }) } } : {}),
      connectionName: 'easel',
      connectTimeout: ANSWER_MS,
      socketTimeout: ANSWER_MS,
      keepAlive: 10_000,
      retryStrategy: (attempts) => Math.min(RECONNECT_MS, 50 * attempts),
      enableOfflineQueue: false,
      // A command that got no answer may have been done. Its caller decides whether to send it again.
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      // After a failover the old primary is a replica: connect anew, to what is the primary now.
      reconnectOnError: (error) => /^(READONLY|MASTERDOWN|LOADING)/.test(error.message)
    }
    this.#commands = new Redis(options)
    // It is silent for as long as nothing happens, so only keep-alive and pings tell that it is dead.
    const { socketTimeout: _, ...silent } = options
    this.#messages = new Redis(silent)
    for (const [name, lua] of Object.entries(ALL)) this.#commands.defineCommand(name, { numberOfKeys: 1, lua })
    this.#commands.on('ready', () => void this.#check().then(onReady))
    this.#commands.on('close', () => this.#down('the connection is closed'))
    for (const client of [this.#commands, this.#messages])
      client.on('error', (error: Error) => this.#down(error.message))
    this.#messages.on('ready', () => void this.#messages.subscribe(...channels).then(onReady, () => undefined))
    this.#messages.on('message', onMessage)
  }

  /** Whether the server answered last. */
  get up(): boolean {
    return this.#up
  }

  /** Runs a script. @throws EaselError */
  script(name: ScriptName, ...args: readonly Argument[]): Promise<Reply> {
    const commands = this.#commands as unknown as Record<string, (...all: Argument[]) => Promise<Reply>>
    return this.#do(() => commands[name]!(this.#prefix, ...args))
  }

  fields(key: string, names: readonly string[]): Promise<(string | null)[]> {
    return this.#do(() => this.#commands.hmget(this.#prefix + key, ...names))
  }

  bytes(key: string, field: string): Promise<Buffer | null> {
    return this.#do(() => this.#commands.hgetBuffer(this.#prefix + key, field))
  }

  /** Writes fields of a hash that goes away by itself. */
  async stage(key: string, fields: Readonly<Record<string, Buffer>>, seconds: number): Promise<void> {
    for (const [field, value] of Object.entries(fields))
      await this.#do(async () => {
        await this.#commands.hset(this.#prefix + key, field, value)
        await this.#commands.expire(this.#prefix + key, seconds)
      })
  }

  async publish(channel: string, message: string): Promise<void> {
    await this.#do(() => this.#commands.publish(channel, message))
  }

  async drop(key: string): Promise<void> {
    await this.#do(() => this.#commands.unlink(this.#prefix + key))
  }

  /** Waits until so many replicas have what was written last. @throws EaselError if they do not get it in time */
  async replicated(replicas: number): Promise<void> {
    if (replicas === 0) return
    const have = await this.#do(() => this.#commands.wait(replicas, ANSWER_MS / 2))
    if (have < replicas) throw this.#unavailable(`${have} of ${replicas} replicas have the job`)
  }

  /** Finds out early that the connection for messages is dead. */
  async ping(): Promise<void> {
    if (this.#messages.status !== 'ready') return
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => (timer = setTimeout(() => resolve('late'), ANSWER_MS)))
    const answer = await Promise.race([this.#messages.ping().catch(() => 'failed'), late])
    clearTimeout(timer)
    if (answer === 'late') this.#messages.disconnect(true)
  }

  close(): void {
    this.#commands.disconnect()
    this.#messages.disconnect()
  }

  async #do<T>(act: () => Promise<T>): Promise<T> {
    if (this.#problem !== undefined) throw this.#unavailable(this.#problem)
    try {
      const reply = await act()
      this.#cameUp()
      return reply
    } catch (cause) {
      throw this.#errorOf(cause as Error)
    }
  }

  #errorOf(error: Error): EaselError {
    if (error instanceof EaselError) return error
    // maxmemory is reached: it answers, but takes nothing more.
    if (error.message.startsWith('OOM')) return jobsFull('server', '')
    this.#down(error.message)
    return this.#unavailable(undefined, error)
  }

  #unavailable(message?: string, cause?: Error): EaselError {
    return new EaselError('JOB_STORE_UNAVAILABLE', message, { retryAfter: RETRY_SECONDS, cause })
  }

  /** Whether the server can keep jobs at all. */
  async #check(): Promise<void> {
    const info = await this.#commands.info().catch(() => '')
    const said = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
    const policy = said('maxmemory_policy')
    const major = Number.parseInt(said('redis_version') ?? '', 10)
    this.#problem =
      said('maxmemory') !== '0' && policy?.startsWith('allkeys')
        ? `its maxmemory-policy is ${policy}, by which it would throw jobs away: set noeviction`
        : major < 7
          ? `it is version ${said('redis_version')}: Valkey 7.2 or Redis 7.0 is the oldest that will do`
          : undefined
    if (this.#problem === undefined) this.#cameUp()
    else this.#down(this.#problem)
  }

  #cameUp(): void {
    if (this.#up) return
    this.#up = true
    this.#say('info', `the job store ${shownAddress(this.#address)} answers`)
  }

  #down(why: string): void {
    const fresh = this.#up || this.#said === undefined
    this.#up = false
    if (fresh)
      this.#say(
        'warn',
        `the job store ${shownAddress(this.#address)} is away (${why}): jobs are refused with 503 until it answers, other requests are served`
      )
  }

  /** A server that comes and goes takes few lines. */
  #say(level: 'info' | 'warn', message: string): void {
    const now = performance.now()
    if (level === 'warn' && now - this.#loggedAt < LOG_MS) return
    if (level === 'info' && this.#said === undefined) this.#said = level
    if (level === 'info' && this.#said === 'info') return void this.#log.info({}, message)
    this.#said = level
    this.#loggedAt = now
    this.#log[level]({}, message)
  }
}
