import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { until } from './wait.js'

export interface GatewayProcess {
  child: ChildProcess
  /** Everything it printed so far. */
  output: () => string
  /** Its end: status and signal. */
  exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Path of the ipc socket for its workers. */
  socket: string
}

export interface Surroundings {
  /** Shell commands that its process runs first: `umask 000`, `ulimit -n 64`, `exec >/dev/full`. */
  first?: string
  /** What its standard output is; a pipe that the test reads when not given. */
  stdout?: number | 'ignore'
}

/** Starts a gateway as a process of its own, and ends it when the test is over. */
export function startProcess(
  script: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
  { first = ':', stdout }: Surroundings = {}
): GatewayProcess {
  const socket = join(tmpdir(), `easel-test-${randomUUID()}.sock`)
  const child = spawn(
    '/bin/sh',
    ['-c', `${first}; exec "$0" "$@"`, process.execPath, join(packageRoot, script), ...args],
    {
      stdio: ['ignore', stdout ?? 'pipe', 'pipe'],
      env: { ...process.env, HOST: '127.0.0.1', PORT: '0', WORKER_ENDPOINT: `ipc://${socket}`, ...env }
    }
  )
  let output = ''
  child.stdout?.on('data', (chunk) => (output += chunk))
  child.stderr!.on('data', (chunk) => (output += chunk))
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal }))
  )
  onTestFinished(async () => {
    child.kill('SIGTERM')
    const kill = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await exit
    clearTimeout(kill)
  })
  return { child, output: () => output, exit, socket }
}

/** The address that a gateway process prints when it is ready. */
export async function readyAddress(gateway: GatewayProcess, timeout = 60_000): Promise<string> {
  const pattern = /ready: .* on (http:\/\/[\w.:]+)/
  await until(
    `the gateway is ready; it printed:\n${gateway.output()}`,
    () => {
      if (gateway.child.exitCode !== null) throw new Error(`the gateway ended:\n${gateway.output()}`)
      return pattern.test(gateway.output())
    },
    timeout
  )
  return pattern.exec(gateway.output())![1]!
}

/** Whether a process lives. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A dead process whose parent has not asked for its status still has an entry.
  return !existsSync(`/proc/${pid}/stat`) || !/^\d+ \(.*\) Z/.test(readStat(pid))
}

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return `${pid} (gone) Z`
  }
}
