import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { beforeAll, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { createServer, type Server } from '../../src/server.js'
import { until } from './wait.js'

export interface RunningServer extends Server {
  /** http://127.0.0.1:PORT */
  url: string
  /** The workers' endpoint. */
  endpoint: string
  /** Log lines, newest last. */
  logs: LogLine[]
}

export interface LogLine {
  level: number
  msg: string
  [field: string]: unknown
}

const SMALL_FAKE = '--sizes 64x64,32x48 --fake-step-ms 1 --fake-encode-ms 0 --fake-decode-ms 0'

/** Like `openServer`, and stops it after the test. */
export async function startServer(env: NodeJS.ProcessEnv = {}): Promise<RunningServer> {
  const { server, stop } = await openServer(env)
  onTestFinished(stop)
  return server
}

/**
 * Starts the real server with a real worker process (with the fake engine unless `env` sets another), on a free port and
 * its own socket.
 */
export async function openServer(
  env: NodeJS.ProcessEnv = {}
): Promise<{ server: RunningServer; stop: () => Promise<void> }> {
  const socket = join(tmpdir(), `easel-test-${randomUUID()}.sock`)
  const logs: LogLine[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line) as LogLine) })
  const options = loadOptions([], {
    HOST: '127.0.0.1',
    PORT: '0',
    ENGINE: 'fake',
    WORKER_ENDPOINT: `ipc://${socket}`,
    HEARTBEAT_INTERVAL: '0.1',
    RESTART_BACKOFF: '0.05',
    ...env,
    WORKER_ARGS: `${SMALL_FAKE} ${env['WORKER_ARGS'] ?? ''}`
  })
  const server = await createServer(options, log)
  const stop = async () => {
    await server.close(0)
    await rm(socket, { force: true })
  }
  await server.app.listen({ host: options.host, port: options.port })
  const { port } = server.app.server.address() as AddressInfo
  return { server: { ...server, url: `http://127.0.0.1:${port}`, endpoint: options.workerEndpoint, logs }, stop }
}

/**
 * Starts one server for all tests of the file or of the current `describe`, and stops it after the last.
 *
 * @param assign receives the server when its first worker is ready
 * @param timeout the longest start, in ms
 */
export function shareServer(
  assign: (server: RunningServer) => void,
  env: NodeJS.ProcessEnv = {},
  timeout?: number
): void {
  beforeAll(async () => {
    const { server, stop } = await openServer(env)
    await server.pool.firstReady
    assign(server)
    return stop
  }, timeout)
}

/** Starts a server for the test and waits until its first worker is ready. */
export async function startReadyServer(env: NodeJS.ProcessEnv = {}): Promise<RunningServer> {
  const server = await startServer(env)
  await server.pool.firstReady
  return server
}

/** Waits until a heartbeat reports no rows in use. */
export function idle(server: RunningServer): Promise<void> {
  return until('no rows are in use', () => server.pool.state.workers[0]?.heartbeat?.rows_in_use === 0)
}

/** Waits until a new heartbeat reports `rows` rows in use: the last one may tell of a request that has ended since. */
export function running(server: RunningServer, rows = 1): Promise<void> {
  const heartbeat = () => server.pool.state.workers[0]?.heartbeat
  const last = heartbeat()
  return until(`${rows} rows are in use`, () => heartbeat() !== last && (heartbeat()?.rows_in_use ?? 0) >= rows)
}

/** Sends a generate request. */
export function generate(server: RunningServer, body: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`${server.url}/generate`, {
    method: 'POST',
    ...init,
    headers: { 'content-type': 'application/json', ...init.headers },
    body: JSON.stringify(body)
  })
}

/** Sums a metric over the samples whose labels contain `labels`. */
export async function metric(server: RunningServer, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const samples = text
    .split('\n')
    .filter((line) => line.startsWith(name) && /[{ ]/.test(line[name.length] ?? '') && line.includes(labels))
  return samples.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
