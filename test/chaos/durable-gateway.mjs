// @ts-check
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startChild } from '../../tools/children.mjs'
import { readyAddress } from '../../tools/gateway.mjs'
import { root } from '../../tools/run.mjs'
import { scrape, total } from '../support/metrics.mjs'
import { processesWith } from '../support/processes.mjs'
import { LogWatch } from './log-watch.mjs'

/** Rows of a worker that makes several images. */
const BUSY_ROWS = 8
const BUSY_MS = 20_000

/** A gateway process with workers of its own, which can be killed and started again under the same address. */
export class DurableGateway {
  /** @param {{ port: number, store: string, stepMs: number, jobs: number, claimTimeout: number, results?: string | undefined, hooks: { hosts: readonly string[], secret: string } }} options */
  constructor(options) {
    this.options = options
    this.url = `http://127.0.0.1:${options.port}`
    this.folder = ''
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.child = undefined
    /** @type {LogWatch[]} of each start */
    this.logs = []
    /** Lines about the job store itself, not about requests that it refused. */
    this.storeLines = 0
    /** Jobs that came to it with half-done images. */
    this.continued = 0
    /** Whether it is meant to run. */
    this.wanted = false
  }

  async start() {
    const { port, store, stepMs, jobs, claimTimeout, results, hooks } = this.options
    if (this.folder === '') this.folder = await mkdtemp(join(tmpdir(), 'easel-durable-'))
    const child = startChild(process.execPath, [join(root, 'dist/main.js')], {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: {
        ...process.env,
        HOST: '127.0.0.1',
        PORT: String(port),
        TMPDIR: this.folder,
        LOG_FORMAT: 'json',
        ENGINE: 'fake',
        JOB_STORE: store,
        JOB_LIMIT: String(2 * jobs),
        JOB_CLAIM_TIMEOUT: String(claimTimeout),
        ...(results === undefined ? {} : { RESULTS: `file://${results}` }),
        WEBHOOK_HOSTS: hooks.hosts.join(' '),
        WEBHOOK_NETWORKS: '127.0.0.0/8',
        WEBHOOK_SECRETS: hooks.secret,
        DRAIN_TIMEOUT: '1',
        HEARTBEAT_INTERVAL: '0.1',
        HEARTBEAT_TIMEOUT: '2',
        RESTART_BACKOFF: '0.05',
        WORKER_ARGS: `--sizes 64x64,32x48 --rows 16 --fake-step-ms ${stepMs} --fake-encode-ms 0 --fake-decode-ms 0`
      }
    })
    this.child = child
    this.wanted = true
    this.logs.push(
      new LogWatch(child.stdout, ({ msg = '' }) => {
        if (msg.startsWith('the job store ')) this.storeLines += 1
        if (msg.includes('half-done images') && msg.includes(' comes with ')) this.continued += 1
      })
    )
    await readyAddress(child)
  }

  /** Log lines that must not occur. */
  get bad() {
    return this.logs.flatMap(({ bad }) => bad)
  }

  /** Its workers' process ids. */
  workers() {
    return processesWith(join(this.folder, 'easel-'))
  }

  /** @param {NodeJS.Signals} signal SIGKILL, or SIGTERM to let it drain */
  async end(signal) {
    this.wanted = false
    const child = /** @type {import('node:child_process').ChildProcess} */ (this.child)
    if (child.exitCode !== null || child.signalCode !== null) return
    const exit = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill(signal)
    await exit
  }

  /**
   * Waits until its worker makes several images, but not for long: there may be none.
   *
   * @param {AbortSignal} signal
   */
  async busy(signal) {
    const end = performance.now() + BUSY_MS
    while (performance.now() < end && !signal.aborted) {
      const rows = await scrape(this.url).then(
        (samples) => total(samples, 'easel_rows_in_use'),
        () => 0
      )
      if (rows >= BUSY_ROWS) return
      await sleep(20)
    }
  }

  freeze() {
    this.child?.kill('SIGSTOP')
  }

  thaw() {
    this.child?.kill('SIGCONT')
  }

  async remove() {
    await this.end('SIGTERM')
    for (const pid of this.workers()) process.kill(pid, 'SIGKILL')
    await rm(this.folder, { recursive: true, force: true })
  }
}
