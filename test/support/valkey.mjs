// @ts-check
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'iovalkey'
import { freePort } from '../../tools/ports.mjs'
import { valkey } from '../../tools/valkey-tools.mjs'

const START_MS = 30_000

/** A Valkey server of its own, which keeps what it has in an append-only file. */
export class ValkeyServer {
  /**
   * @param {string} program
   * @param {string} folder
   * @param {number} port
   * @param {readonly string[]} args
   */
  constructor(program, folder, port, args) {
    this.program = program
    this.folder = folder
    this.port = port
    this.args = args
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.child = undefined
  }

  get url() {
    return `valkey://127.0.0.1:${this.port}`
  }

  async start() {
    const own = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder]
    const durable = ['--appendonly', 'yes', '--appendfsync', 'no', '--save', '']
    const child = spawn(this.program, [...own, ...durable, ...this.args], { stdio: 'ignore' })
    this.child = child
    const end = performance.now() + START_MS
    while (!(await this.#listens())) {
      if (child.exitCode !== null) throw new Error(`valkey-server ended with ${child.exitCode}`)
      if (performance.now() > end) throw new Error('valkey-server did not start')
      await sleep(20)
    }
  }

  async kill() {
    const child = /** @type {import('node:child_process').ChildProcess} */ (this.child)
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill('SIGKILL')
    await exit
  }

  freeze() {
    this.child?.kill('SIGSTOP')
  }

  thaw() {
    this.child?.kill('SIGCONT')
  }

  async stop() {
    await this.kill()
    await rm(this.folder, { recursive: true, force: true })
  }

  /**
   * Sends one command.
   *
   * @param {string} command
   * @param {...string | number} args
   */
  async send(command, ...args) {
    const client = new Redis({ port: this.port, host: '127.0.0.1', lazyConnect: true, retryStrategy: () => null })
    client.on('error', () => undefined)
    try {
      await client.connect()
      return await client.call(command, ...args)
    } finally {
      client.disconnect()
    }
  }

  async #listens() {
    const socket = connect(this.port, '127.0.0.1')
    const works = await new Promise((resolve) =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    )
    socket.destroy()
    return works
  }
}

/**
 * Starts a Valkey server.
 *
 * @param {...string} args more of its arguments
 */
export async function startValkey(...args) {
  const server = new ValkeyServer(
    await valkey(),
    await mkdtemp(join(tmpdir(), 'easel-valkey-')),
    await freePort(),
    args
  )
  await server.start()
  return server
}
