import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { onTestFinished } from 'vitest'

export interface Received {
  path: string
  headers: Record<string, string>
  body: string
}

export interface Receiver {
  /** http://127.0.0.1:PORT */
  url: string
  /** 127.0.0.1:PORT */
  host: string
  /** What it got, newest last. */
  got: Received[]
}

/** Starts a receiver of webhooks, and stops it after the test. @param answer 200 by default */
export async function startReceiver(
  answer: (response: ServerResponse, nth: number, request: IncomingMessage) => void = (response) => response.end()
): Promise<Receiver> {
  const got: Received[] = []
  const listener: RequestListener = (request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => (body += chunk))
    request.on('end', () => {
      got.push({ path: request.url!, headers: request.headers as Record<string, string>, body })
      answer(response, got.length, request)
    })
  }
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`
  return { url: `http://${host}`, host, got }
}

/** A secret of WEBHOOK_SECRETS. */
export const secretOf = (byte: number): string => `whsec_${Buffer.alloc(32, byte).toString('base64')}`

export const status =
  (code: number, headers: Record<string, string> = {}) =>
  (response: ServerResponse): void => {
    response.writeHead(code, headers).end()
  }
