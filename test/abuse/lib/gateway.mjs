// @ts-check
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdtemp, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { root, StepError } from '../../../tools/run.mjs'
import { python } from '../../../tools/setup.mjs'
import { processesWith, residentMib } from '../../support/processes.mjs'
import { memoryGroup } from './cgroup.mjs'
import { atEnd } from './cleanup.mjs'
import { Log } from './log.mjs'
import { listeningPort, signal, waitFor } from './proc.mjs'

/** How long a start or a stop may take, in ms. */
const START_MS = 60_000
const STOP_MS = 15_000

/** Pictures of 1024² that take no time but their drawing. */
export const FAST = '--sizes 1024x1024,64x64 --rows 64 --fake-step-ms 0 --fake-encode-ms 0 --fake-decode-ms 0'

/**
 * @typedef {object} Start
 * @property {Record<string, string>} [env] settings
 * @property {string} [fake] options of the fake engine
 * @property {number} [memoryMib] limit of memory for the gateway alone; its worker is then started beside it
 * @property {readonly string[]} [node] options of Node
 * @property {boolean} [connect] its worker is started beside it, as in k8s/base, and not by the gateway
 * @property {string} [shell] commands of the shell that becomes the gateway, such as `ulimit -n 256`
 * @property {import('node:child_process').StdioOptions} [stdio] where its output goes; without it, it is kept in `log`
 * @property {import('node:child_process').StdioOptions} [workerStdio] where the output of a worker beside it goes
 * @property {boolean} [waits] false: it is not waited for until it is ready
 *
 * @typedef {Awaited<ReturnType<typeof startGateway>>} Gateway
 */

/** @type {Map<string, () => void>} */
const folders = new Map()

/** A folder of its own for what an attack starts: its path is in the command line of all of it. */
export async function ownFolder() {
  const folder = await mkdtemp(join(tmpdir(), 'easel-abuse-'))
  folders.set(
    folder,
    atEnd(() => {
      for (const pid of processesWith(folder)) signal(pid, 'SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    })
  )
  return folder
}

/** @param {string} folder of `ownFolder`; what runs in it is ended */
export function removeFolder(folder) {
  folders.get(folder)?.()
  folders.delete(folder)
}

/**
 * The built gateway as a process with one worker (fake engine), in a temporary folder of its own.
 *
 * @param {Start} [options]
 * @throws StepError when it does not become ready
 */
export async function startGateway({
  env = {},
  fake = FAST,
  memoryMib,
  node = [],
  connect = memoryMib !== undefined,
  shell,
  stdio,
  workerStdio,
  waits = true
} = {}) {
  const folder = await ownFolder()
  const group = memoryMib === undefined ? undefined : memoryGroup(memoryMib)
  const endpoint = env['WORKER_ENDPOINT'] ?? `ipc://${join(folder, 'easel-worker.sock')}`
  // Where its log is not read, nobody would know the second port.
  const admin = stdio === undefined
  const settings = {
    ...(admin && { ADMIN_PORT: '0' }),
    HOST: '127.0.0.1',
    PORT: '0',
    TMPDIR: folder,
    LOG_FORMAT: 'json',
    LOG_LEVEL: 'info',
    ENGINE: 'fake',
    WORKER: connect ? 'connect' : 'spawn',
    RESTART_BACKOFF: '0.05',
    WORKER_ARGS: fake,
    ...env
  }
  const before = [group && `echo $$ > ${group.procs}`, shell].filter(Boolean)
  // The shell becomes the gateway, so its process id is the gateway's.
  const child = spawn(
    'sh',
    [
      '-c',
      [...before, 'exec "$0" "$@"'].join(' && '),
      process.execPath,
      ...node,
      join(root, 'dist/main.js'),
      '--worker-endpoint',
      endpoint
    ],
    {
      stdio: stdio ?? ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...settings }
    }
  )
  const pid = /** @type {number} */ (child.pid)
  const log = child.stdout ? new Log(child.stdout) : undefined
  const errors = child.stderr ? new Log(child.stderr) : undefined
  const worker = connect ? startWorker({ endpoint, fake, folder, stdio: workerStdio }) : undefined
  const ended = () => child.exitCode !== null || child.signalCode !== null
  const exit = new Promise((resolve) => child.once('exit', resolve))
  const gateway = {
    url: '',
    adminUrl: '',
    port: 0,
    pid,
    child,
    folder,
    endpoint,
    log,
    errors,
    group,
    worker,
    /** Whether it has ended, by whatever. */
    ended,
    /** Settles when it has. */
    exit,
    /** How it ended. */
    status: () => child.signalCode ?? child.exitCode,
    /** Workers that run: their command lines name the socket. */
    workers: () => processesWith(endpoint.slice('ipc://'.length)).filter((each) => each !== pid),
    rss: () => residentMib(pid) ?? 0,
    /** Whether it listens, within so many ms: its log says where, or the kernel does. @param {number} [most] */
    async listening(most = START_MS) {
      const port = () =>
        (log === undefined
          ? listeningPort(pid)
          : Number(/"listening on http:\/\/[\d.]+:(\d+)/.exec(log.text)?.[1] ?? 0)) ?? 0
      await waitFor(() => ended() || (gateway.port = port()) !== 0, most)
      gateway.url = `http://127.0.0.1:${gateway.port}`
      const adminUrl = () =>
        (admin ? /health and metrics on (http:\/\/[\d.:]+)/.exec(log?.text ?? '')?.[1] : gateway.url) ?? ''
      await waitFor(() => ended() || (gateway.adminUrl = adminUrl()) !== '', most)
      return gateway.port !== 0 && gateway.adminUrl !== ''
    },
    /** Whether it says that it is ready, within so many ms. @param {number} [most] */
    async ready(most = START_MS) {
      return (
        (await waitFor(async () => ended() || (gateway.adminUrl !== '' && (await isReady(gateway.adminUrl))), most)) !==
          undefined && !ended()
      )
    },
    /** Ends it as a platform would, and tells how that went. */
    async stop() {
      signal(pid, 'SIGCONT')
      child.kill('SIGTERM')
      worker?.stdin?.end()
      if (!ended()) await Promise.race([exit, sleep(STOP_MS, undefined, { ref: false })])
      const status = ended() ? gateway.status() : 'does not end'
      child.kill('SIGKILL')
      await exit
      if (worker && worker.exitCode === null && worker.signalCode === null) {
        worker.kill('SIGKILL')
        await once(worker, 'exit')
      }
      const files = await readdir(folder)
      removeFolder(folder)
      group?.remove()
      return { status, files }
    }
  }
  if (!waits) return gateway
  if ((await gateway.listening()) && (await gateway.ready())) return gateway
  const said = `${log?.text ?? ''}${errors?.text ?? ''}`.slice(0, 2000)
  await gateway.stop()
  throw new StepError(`the gateway did not become ready:\n${said}`)
}

/**
 * A worker that connects to a gateway, started by nobody in particular.
 *
 * @param {{ endpoint: string, fake?: string, folder: string, name?: string, stdio?: import('node:child_process').StdioOptions | undefined }} options
 */
export function startWorker({
  endpoint,
  fake = FAST,
  folder,
  name = 'worker-0',
  stdio = ['pipe', 'ignore', 'ignore']
}) {
  const args = [
    '-m',
    'easel_worker',
    '--connect',
    endpoint,
    '--name',
    name,
    '--engine',
    'fake',
    '--model',
    join(root, 'models/demo'),
    '--exit-with-parent',
    ...fake.split(' ')
  ]
  return spawn(python, args, { cwd: join(root, 'python-worker'), stdio, env: { ...process.env, TMPDIR: folder } })
}

/** @param {string} url */
async function isReady(url) {
  return fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(2000) }).then(
    ({ ok }) => ok,
    () => false
  )
}
