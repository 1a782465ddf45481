import { createServer, connect, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { generate, metric, running, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()

describe('troubles', () => {
  it('shows how long to wait when the queue is full, and tries again when told to', async () => {
    const server = await startReadyServer({ QUEUE_LIMIT: '1', WORKER_ARGS: '--fake-step-ms 20' })
    const visitor = await enter(server.url)
    await visitor.ready()
    const busy = new AbortController()
    const other = generate(server, { prompt: 'somebody else', num_inference_steps: 1000 }, { signal: busy.signal }).catch(() => undefined)
    await running(server)
    await visitor.page.clock.install()
    await visitor.paint({ prompt: 'one too many', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /Every easel is taken/)
    const retry = visitor.button(/^Try again/)
    await visitor.sees(retry, /Try again in \d+ (s|min)/)
    expect(await retry.isDisabled()).toBe(true)

    busy.abort()
    await other
    await until('the queue has room', () => server.service.ledger.inFlight === 0)
    await countDown(visitor)
    await retry.click()
    await visitor.picture.waitFor()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('says that the model is still loading, and tries again when it may be ready', async () => {
    const server = await startServer({ WORKER_ARGS: '--fake-warm-ms 600000' })
    const visitor = await enter(server.url)
    await visitor.sees(visitor.page.locator('#service'), /Loading the model/)
    await visitor.paint({ prompt: 'too early' })
    await visitor.sees(visitor.notice, /The painter is not ready yet/)
    await visitor.sees(visitor.button(/^Try again/), /Try again in \d+/)
  })

  it('says that it took too long', async () => {
    const server = await startReadyServer({ REQUEST_TIMEOUT: '0.5', WORKER_ARGS: '--fake-step-ms 50' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'too slow', num_inference_steps: 500 })
    await visitor.sees(visitor.notice, /That took too long/)
    await visitor.sees(visitor.notice, /Fewer steps/)
    expect(await visitor.page.locator('#blank').isVisible()).toBe(true)
  })

  it('says that it would take too long, where the server knows how long its steps take', async () => {
    const server = await startReadyServer({ REQUEST_TIMEOUT: '3', WORKER_ARGS: '--fake-step-ms 50' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'quick enough', num_inference_steps: 5 })
    await visitor.picture.waitFor()
    await visitor.paint({ prompt: 'too slow', num_inference_steps: 900 })
    await visitor.sees(visitor.notice, /That would take too long/)
    await visitor.sees(visitor.notice, /Fewer steps/)
  })

  it('says what is wrong at the field that is wrong, before and after asking the server', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.button('Paint').click()
    await visitor.sees(visitor.page.locator('#prompt-error'), /Say what the picture shows/)
    await visitor.paint({ prompt: 'fine', num_inference_steps: 0 })
    await visitor.sees(visitor.page.locator('#num_inference_steps-error'), /whole number from 1 to 1000/)
    await visitor.paint({ prompt: 'long '.repeat(90), num_inference_steps: 3 })
    await visitor.sees(visitor.page.locator('#prompt-error'), /tokens/)
    expect(await visitor.page.locator('#prompt').getAttribute('aria-invalid')).toBe('true')
    expect(await visitor.page.evaluate(() => document.activeElement?.id)).toBe('prompt')

    await visitor.page.locator('.fine summary').click()
    await visitor.page.getByLabel('Cut a prompt that is too long').check()
    await visitor.button('Paint').click()
    await visitor.picture.waitFor()
  })

  it('says that the server cannot be reached, and finds it again', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.context.setOffline(true)
    await visitor.paint({ prompt: 'nobody there', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /cannot be reached/)
    await visitor.context.setOffline(false)
    await visitor.button('Try again').click()
    await visitor.picture.waitFor()
  })

  it('takes up a stream that breaks, where it broke', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 30' })
    const relay = await startRelay(server.url)
    const visitor = await enter(relay.url)
    await visitor.ready()
    const asked: (string | undefined)[] = []
    visitor.page.on('request', (request) => {
      if (request.method() === 'POST') asked.push(request.headers()['last-event-id'])
    })
    await visitor.paint({ prompt: 'on a bad line', seed: 5, num_inference_steps: 150 })
    await visitor.sees(visitor.progress, /Step ([5-9]|\d\d+) of/)
    relay.breakAll()
    await visitor.picture.waitFor()
    await visitor.sees(visitor.page.locator('#placard-facts'), /seed 5 /)
    expect(await visitor.notice.count()).toBe(0)
    await visitor.keeps(1)
    expect(asked).toEqual([undefined, expect.stringMatching(/^[1-9]\d*$/)])
    // One request, not two: the second connection joined it.
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(1)
  })
})

/** Lets the time of the page pass until the button can be pressed. */
async function countDown(visitor: Visitor): Promise<void> {
  const retry = visitor.button(/^Try again/)
  await until('the wait is over', async () => {
    await visitor.page.clock.fastForward('01:00')
    return retry.isEnabled()
  })
}

/** A line to the server that can be broken. */
async function startRelay(target: string): Promise<{ url: string; breakAll: () => void }> {
  const { hostname, port } = new URL(target)
  const sockets = new Set<Socket>()
  const relay = createServer((client) => {
    const server = connect(Number(port), hostname)
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        server.destroy()
      })
    }
    client.pipe(server).pipe(client)
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const breakAll = () => sockets.forEach((socket) => socket.destroy())
  onTestFinished(() => {
    breakAll()
    relay.close()
  })
  return { url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`, breakAll }
}
