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

/** Pictures of 1024² that take only the time to draw them. */
export const FAST = '--sizes 1024x1024,64x64 --rows 64 --fake-step-ms 0 --fake-encode-ms 0 --fake-decode-ms 0'

/**
 * @typedef {object} Start
 * @property {Record<string, string>} [env] settings
 * @property {string} [fake] options of the fake engine
 * @property {number} [memoryMib] memory limit of the gateway alone; its worker is then started separately
 * @property {readonly string[]} [node] options for Node
 * @property {boolean} [connect] start its worker separately, as in k8s/base, instead of by the gateway
 * @property {string} [shell] commands of the shell that becomes the gateway, such as `ulimit -n 256`
 * @property {import('node:child_process').StdioOptions} [stdio] its output; kept in `log` by default
 * @property {import('node:child_process').StdioOptions} [workerStdio] the output of a separate worker
 * @property {boolean} [waits] false: do not wait until it is ready
 *
 * @typedef {Awaited<ReturnType<typeof startGateway>>} Gateway
 */

/** @type {Map<string, () => void>} */
const folders = new Map()

/** Makes a folder for an attack's processes, whose command lines all contain its path. */
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

/** Ends the processes that use a folder, and removes it. @param {string} folder from `ownFolder` */
export function removeFolder(folder) {
  folders.get(folder)?.()
  folders.delete(folder)
}

/**
 * Starts the built gateway as a process with one worker (fake engine), in its own temporary folder.
 *
 * @param {Start} [options]
 * @throws StepError if it does not become ready
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
  // The second port is only known from its log.
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
  // The shell becomes the gateway and keeps its process id.
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
    /** Whether it has ended. */
    ended,
    /** Settles when it ends. */
    exit,
    /** How it ended. */
    status: () => child.signalCode ?? child.exitCode,
    /** Running workers; their command lines name the socket. */
    workers: () => processesWith(endpoint.slice('ipc://'.length)).filter((each) => each !== pid),
    rss: () => residentMib(pid) ?? 0,
    /** Waits until it listens, according to its log or the kernel. @param {number} [most] ms */
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
    /** Waits until it reports that it is ready. @param {number} [most] ms */
    async ready(most = START_MS) {
      return (
        (await waitFor(async () => ended() || (gateway.adminUrl !== '' && (await isReady(gateway.adminUrl))), most)) !==
          undefined && !ended()
      )
    },
    /** Ends it as a platform would, and describes the outcome. */
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
 * Starts a worker separately from the gateway that it connects to.
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
