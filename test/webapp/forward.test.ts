import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import { idle, metric, running, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { buildWeb, startWeb } from '../support/web.js'

const body = (fields: object) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(fields)
})

describe("the page's own process", () => {
  it('forwards requests to the gateway, and images, events and errors back', async () => {
    const server = await startReadyServer()
    const { url: web } = await startWeb(server.url)
    const request = body({ prompt: 'through the web app', seed: 3, num_inference_steps: 3 })
    const [direct, forwarded] = await Promise.all([
      fetch(`${server.url}/generate`, request),
      fetch(`${web}/generate`, request)
    ])
    expect(forwarded.headers.get('easel-seed')).toBe('3')
    expect(forwarded.headers.get('content-type')).toBe('image/png')
    const image = Buffer.from(await forwarded.arrayBuffer())
    expect(image.equals(Buffer.from(await direct.arrayBuffer()))).toBe(true)

    const recipe = await fetch(`${web}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: image
    })
    expect(((await recipe.json()) as { recipe: { seed: number } }).recipe.seed).toBe(3)

    const events = await fetch(`${web}/generate`, {
      ...request,
      headers: { ...request.headers, accept: 'text/event-stream' }
    })
    expect(events.headers.get('content-type')).toMatch(/^text\/event-stream/)
    expect(await events.text()).toMatch(/event: done\n/)

    const wrong = await fetch(`${web}/generate`, body({ prompt: 'x', width: 7 }))
    expect(wrong.status).toBe(400)
    expect(await wrong.json()).toMatchObject({ code: 'INVALID_REQUEST', field: 'width' })
    expect((await fetch(`${web}/health`)).status).toBe(200)
  })

  it('forwards events as they happen', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const { url: web } = await startWeb(server.url)
    const gone = new AbortController()
    const request = body({ prompt: 'never finished', num_inference_steps: 1000 })
    const answer = await fetch(`${web}/generate`, {
      ...request,
      headers: { ...request.headers, accept: 'text/event-stream' },
      signal: gone.signal
    })
    let text = ''
    const decoder = new TextDecoder()
    for await (const chunk of answer.body!) {
      text += decoder.decode(chunk, { stream: true })
      if (/"step":5,/.test(text)) break
    }
    gone.abort()
    await idle(server)
  })

  it.each(['image/png', 'text/event-stream'])(
    'aborts at the gateway when the visitor disconnects: %s',
    async (accept) => {
      const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
      const { url: web } = await startWeb(server.url)
      const gone = new AbortController()
      const request = body({ prompt: 'never seen', num_inference_steps: 1000 })
      const answer = fetch(`${web}/generate`, {
        ...request,
        headers: { ...request.headers, accept },
        signal: gone.signal
      }).then((response) => response.text())
      await running(server)
      gone.abort()
      await expect(answer).rejects.toThrow()
      await until(
        'the request is counted as cancelled',
        async () => (await metric(server, 'easel_requests_total', 'outcome="cancelled"')) === 1
      )
      await idle(server)
    }
  )

  it('cancels by id', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const { url: web } = await startWeb(server.url)
    const request = body({ prompt: 'cancelled', num_inference_steps: 1000 })
    const answer = fetch(`${web}/generate`, {
      ...request,
      headers: { ...request.headers, 'x-request-id': 'my-own-id' }
    })
    await running(server)
    expect((await fetch(`${web}/requests/my-own-id`, { method: 'DELETE' })).status).toBe(204)
    expect((await answer).status).toBe(499)
    expect((await fetch(`${web}/requests/my-own-id`, { method: 'DELETE' })).status).toBe(404)
  })

  it.each([
    ['GET', '/metrics'],
    ['GET', '/health/live'],
    ['POST', '/v1/images/generations'],
    ['GET', '/generate', 405, 'METHOD_NOT_ALLOWED'],
    ['DELETE', '/generate', 405, 'METHOD_NOT_ALLOWED'],
    ['GET', '/requests/some-id', 405, 'METHOD_NOT_ALLOWED'],
    ['GET', '//metrics'],
    ['DELETE', '/requests/..%2F..%2Fmetrics/x'],
    ['GET', '/assets/../../package.json'],
    ['GET', '/assets/..%2f..%2fpackage.json']
  ])('forwards nothing else: %s %s', async (method, path, status = 404, code = 'NOT_FOUND') => {
    const { heard, url } = await startUpstream()
    const { app, stop } = await buildWeb(url)
    onTestFinished(stop)
    const answer = await app.inject({ method: method as 'GET', url: path })
    expect(answer.statusCode).toBe(status)
    expect(answer.json()).toMatchObject({ code })
    expect(heard).toEqual([])
  })

  it("replaces the visitor's key by its own, and forwards only known headers", async () => {
    const { heard, url } = await startUpstream()
    const headers = {
      authorization: 'Bearer visitor',
      cookie: 'secret=1',
      'idempotency-key': 'k',
      'x-request-id': 'abc',
      connection: 'keep-alive'
    }
    await fetch(`${(await startWeb(url)).url}/health`, { headers })
    await fetch(`${(await startWeb(url, { API_KEY: 'own-key' })).url}/health`, { headers })
    expect(heard.map(({ authorization }) => authorization)).toEqual(['Bearer visitor', 'Bearer own-key'])
    for (const request of heard) {
      expect(request).toMatchObject({ 'idempotency-key': 'k', 'x-request-id': 'abc', 'x-forwarded-for': '127.0.0.1' })
      expect(request).not.toHaveProperty('cookie')
    }
  })

  it('appends paths unmodified to the path of SERVER_URL', async () => {
    const { paths, url } = await startUpstream()
    const { url: web } = await startWeb(`${url}/inside/easel/`)
    await fetch(`${web}/health`)
    // fetch would normalize the path, so use node:http.
    const answer = once(httpRequest(web, { method: 'DELETE', path: '/requests/%2e%2e' }).end(), 'response')
    ;((await answer)[0] as IncomingMessage).resume()
    expect(paths).toEqual(['/inside/easel/health', '/inside/easel/requests/%2e%2e'])
  })

  it('answers 503 with Retry-After when the gateway cannot be reached, and stays healthy itself', async () => {
    const { url: web } = await startWeb('http://127.0.0.1:9')
    const answer = await fetch(`${web}/generate`, body({ prompt: 'x' }))
    expect(answer.status).toBe(503)
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await answer.json()).toMatchObject({ code: 'NOT_READY' })
    expect(await (await fetch(`${web}/healthz`)).json()).toEqual({ status: 'ok' })
  })
})

/** A server that answers everything and records its requests. */
async function startUpstream(): Promise<{ url: string; heard: Record<string, unknown>[]; paths: string[] }> {
  const heard: Record<string, unknown>[] = []
  const paths: string[] = []
  const app = Fastify()
  app.all('/*', async (request) => {
    heard.push(request.headers)
    paths.push(request.url)
    return {}
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  onTestFinished(() => app.close())
  return { url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`, heard, paths }
}
