import type { AddressInfo } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { pino } from 'pino'
import { onTestFinished } from 'vitest'
import { loadWebOptions } from '../../src/webapp/web-options.js'
import { buildWebApp } from '../../src/webapp/server.js'
import type { LogLine } from './server.js'

export interface RunningWeb {
  app: FastifyInstance
  /** http://127.0.0.1:PORT */
  url: string
  /** Log lines, newest last. */
  logs: LogLine[]
  stop: () => Promise<void>
}

/** Makes the application of the page's own process, in front of a gateway, without listening. */
export async function buildWeb(serverUrl: string, env: NodeJS.ProcessEnv = {}): Promise<Omit<RunningWeb, 'url'>> {
  const logs: LogLine[] = []
  const log = pino({ level: 'debug' }, { write: (line: string) => void logs.push(JSON.parse(line) as LogLine) })
  const app = await buildWebApp(loadWebOptions([], { SERVER_URL: serverUrl, ...env }), log)
  const stop = async () => {
    app.server.closeAllConnections()
    await app.close()
  }
  return { app, logs, stop }
}

/** Starts the application of the page's own process on a free port. */
export async function openWeb(serverUrl: string, env: NodeJS.ProcessEnv = {}): Promise<RunningWeb> {
  const web = await buildWeb(serverUrl, env)
  await web.app.listen({ host: '127.0.0.1', port: 0 })
  return { ...web, url: `http://127.0.0.1:${(web.app.server.address() as AddressInfo).port}` }
}

/** Like `openWeb`, and stops it after the test. */
export async function startWeb(serverUrl: string, env: NodeJS.ProcessEnv = {}): Promise<RunningWeb> {
  const web = await openWeb(serverUrl, env)
  onTestFinished(web.stop)
  return web
}
