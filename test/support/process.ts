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
  /** Returns everything it printed so far. */
  output: () => string
  /** Settles when it ends, with status and signal. */
  exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Path of its workers' ipc socket. */
  socket: string
}

export interface Surroundings {
  /** Shell commands that its process runs first: `umask 000`, `ulimit -n 64`, `exec >/dev/full`. */
  first?: string
  /** Its standard output; by default a pipe that the test reads. */
  stdout?: number | 'ignore'
}

/** Starts a gateway as a process and ends it after the test. */
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
  // Not 'exit': what the process printed last may still be in the pipe then.
  const exit = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal }))
  )
  onTestFinished(async () => {
    child.kill('SIGTERM')
    const kill = setTimeout(() => child.kill('SIGKILL'), 10_000)
    await exit
    clearTimeout(kill)
  })
  return { child, output: () => output, exit, socket }
}

/** Waits until a gateway process is ready, and returns the address that it prints. */
export async function readyAddress(gateway: GatewayProcess, timeout = 170_000): Promise<string> {
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

/** Tells whether a process runs. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  // A zombie still has an entry in /proc.
  return !existsSync(`/proc/${pid}/stat`) || !/^\d+ \(.*\) Z/.test(readStat(pid))
}

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return `${pid} (gone) Z`
  }
}
