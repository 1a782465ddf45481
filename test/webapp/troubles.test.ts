import { createServer, connect, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { generate, metric, running, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()

describe('errors', () => {
  it('shows how long to wait when the queue is full, and retries on request', async () => {
    const server = await startReadyServer({ QUEUE_LIMIT: '1', WORKER_ARGS: '--fake-step-ms 20' })
    const visitor = await enter(server.url)
    await visitor.ready()
    const busy = new AbortController()
    const other = generate(
      server,
      { prompt: 'somebody else', num_inference_steps: 1000 },
      { signal: busy.signal }
    ).catch(() => undefined)
    await running(server)
    await visitor.page.clock.install()
    await visitor.paint({ prompt: 'one too many', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /The server is busy/)
    const retry = visitor.button(/^Try again/)
    await visitor.sees(retry, /Try again in \d+ (s|min)/)
    expect(await retry.isDisabled()).toBe(true)

    busy.abort()
    await other
    await until('no request is in flight', () => server.service.ledger.inFlight === 0)
    await countDown(visitor)
    await retry.click()
    await visitor.picture.waitFor()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('reports that it took too long', async () => {
    const server = await startReadyServer({ REQUEST_TIMEOUT: '0.5', WORKER_ARGS: '--fake-step-ms 50' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'too slow', num_inference_steps: 500 })
    await visitor.sees(visitor.notice, /This took too long/)
    await visitor.sees(visitor.notice, /fewer steps/)
    expect(await visitor.page.locator('#blank').isVisible()).toBe(true)
  })

  it('reports that it would take too long, if the server has measured its steps', async () => {
    const server = await startReadyServer({ REQUEST_TIMEOUT: '3', WORKER_ARGS: '--fake-step-ms 50' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'quick enough', num_inference_steps: 5 })
    await visitor.picture.waitFor()
    await visitor.paint({ prompt: 'too slow', num_inference_steps: 900 })
    await visitor.sees(visitor.notice, /This would take too long/)
    await visitor.sees(visitor.notice, /fewer steps/)
  })

  it('shows an error at its field, before and after asking the server', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#prompt-error'), /Enter a prompt/)
    await visitor.paint({ prompt: 'fine', num_inference_steps: 0 })
    await visitor.sees(visitor.page.locator('#num_inference_steps-error'), /whole number from 1 to 1000/)
    await visitor.write({ num_inference_steps: 3 })
    expect(await visitor.page.locator('#num_inference_steps-error').textContent()).toBe('')
  })

  it("marks every field that violates the server's limits, and focuses the first", async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    const { limits } = (await (await fetch(`${server.url}/health`)).json()) as { limits: Record<string, number> }
    const asked: string[] = []
    visitor.page.on('request', (request) => request.url().endsWith('/generate') && asked.push(request.url()))
    await visitor.page.locator('.fine summary').click()
    await visitor.write({ guidance_start: 0.8, guidance_end: 0.3 })
    await visitor.page.locator('.fine summary').click()
    await visitor.paint({
      prompt: 'x'.repeat(32_001),
      seed: 2 ** 32,
      ...Object.fromEntries(
        ['num_inference_steps', 'guidance_scale', 'num_images'].map((name) => [name, limits[name]! + 1])
      )
    })
    const wrong = {
      prompt: /32,001 characters; the limit is 32,000/,
      num_inference_steps: /from 1 to 1000/,
      guidance_scale: /from 0 to 50/,
      seed: /to 4294967295/,
      num_images: /from 1 to 16/,
      guidance_end: /before its start \(0.8\)/
    }
    for (const [name, words] of Object.entries(wrong)) {
      await visitor.sees(visitor.page.locator(`#${name}-error`), words)
      expect(await visitor.page.locator(`#${name}`).getAttribute('aria-invalid')).toBe('true')
    }
    expect(await visitor.page.locator('[aria-invalid=true]').count()).toBe(Object.keys(wrong).length)
    expect(await focused(visitor)).toBe('prompt')
    await visitor.sees(visitor.page.locator('#announce'), /6 fields are invalid/)

    // Corrected fields are no longer marked; the others still are.
    await visitor.write({ prompt: 'short' })
    expect(await visitor.page.locator('#prompt').getAttribute('aria-invalid')).toBe(null)
    expect(await visitor.page.locator('[aria-invalid=true]').count()).toBe(5)
    await visitor.write({ num_inference_steps: 2, guidance_scale: 2, seed: 1, num_images: 1, guidance_start: 0.2 })
    expect(await visitor.page.locator('[aria-invalid=true]').count()).toBe(0)
    expect(asked).toEqual([])
    await visitor.submit.click()
    await visitor.picture.waitFor()
  })

  it('offers only what this server supports, and marks what it does not', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--max-cache-interval 1' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.locator('.fine summary').click()
    expect(await visitor.page.locator('#guidance_start').isVisible()).toBe(true)
    expect(await visitor.page.locator('#cache_interval').isVisible()).toBe(false)

    // As after opening a picture made elsewhere.
    await visitor.page.evaluate(() =>
      localStorage.setItem('easel.form', JSON.stringify({ prompt: 'p', scheduler: 'unipc', cache_interval: 3 }))
    )
    await visitor.open()
    await visitor.ready()
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#scheduler-error'), /does not offer unipc/)
    await visitor.sees(visitor.page.locator('#cache_interval-error'), /from 1 to 1/)
    expect(await focused(visitor)).toBe('scheduler')
    await visitor.page.locator('#scheduler').selectOption('ddim')
    await visitor.write({ cache_interval: '' })
    await visitor.submit.click()
    await visitor.picture.waitFor()
  })

  it.each(['prompt', 'negative_prompt'])(
    'says how long a %s is, in its own words, and offers to cut it',
    async (field) => {
      const server = await startReadyServer()
      const visitor = await enter(server.url)
      await visitor.ready()
      await visitor.paint({ prompt: 'short', num_inference_steps: 3, [field]: `${'long '.repeat(90)}end` })
      const error = visitor.page.locator(`#${field}-error`)
      await visitor.sees(error, /^This prompt has 91 tokens; the model reads 75, up to “….*long”\.$/)
      expect(await visitor.page.locator(`#${field}`).getAttribute('aria-invalid')).toBe('true')
      expect(await focused(visitor)).toBe(field)
      await visitor.page.keyboard.press('Tab')
      expect(await visitor.page.evaluate(() => document.activeElement?.textContent)).toBe(
        'Generate with a truncated prompt'
      )
      await visitor.page.keyboard.press('Enter')
      await visitor.picture.waitFor()
      await visitor.sees(visitor.page.locator('#placard-facts'), /prompt truncated/)
      // The setting stays on, visibly.
      expect(await visitor.page.getByLabel('Truncate prompts that are too long').isVisible()).toBe(true)
      expect(await visitor.page.getByLabel('Truncate prompts that are too long').isChecked()).toBe(true)
      expect(await visitor.button('Generate with a truncated prompt').count()).toBe(0)
    }
  )

  it('hides exceptions from visitors', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:1@1' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'faulty', seed: 1, num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /The model failed on this request\./)
    const words = await visitor.notice.innerText()
    expect(words).not.toMatch(/Error|fault/)
    expect(words).toMatch(/Request [\da-f-]{36}/)
  })

  it('scrolls to the error if the easel is out of view', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:1@1' })
    const visitor = await enter(server.url, { viewport: { width: 390, height: 600 } })
    await visitor.ready()
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'faulty', seed: 1, num_inference_steps: 2 })
    await visitor.page.locator('#sketchbook-title').scrollIntoViewIfNeeded()
    await release()
    await visitor.notice.waitFor()
    await until('the notice is visible', async () => {
      const { y, height } = (await visitor.notice.boundingBox())!
      return y >= 0 && y + height <= 600
    })
  })

  it('reports that the server cannot be reached, and recovers', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.context.setOffline(true)
    await visitor.paint({ prompt: 'nobody there', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /Cannot reach the server/)
    await visitor.context.setOffline(false)
    await visitor.button('Try again').click()
    await visitor.picture.waitFor()
  })

  it('continues silently when the server is restarted', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await drainTimes(visitor, 1)
    await visitor.paint({ prompt: 'on the way', num_inference_steps: 2 })
    await visitor.picture.waitFor()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('reports repeated restarts, and retries by itself', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await drainTimes(visitor, 6)
    await visitor.paint({ prompt: 'on a long way', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /The server is restarting/)
    await visitor.picture.waitFor()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('resumes a broken stream where it broke', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 30' })
    const relay = await startRelay(server.url)
    const visitor = await enter(relay.url)
    await visitor.ready()
    const asked: (string | undefined)[] = []
    visitor.page.on('request', (request) => {
      if (request.url().endsWith('/generate')) asked.push(request.headers()['last-event-id'])
    })
    await visitor.paint({ prompt: 'on a bad line', seed: 5, num_inference_steps: 150 })
    await visitor.sees(visitor.progress, /Step ([5-9]|\d\d+) of/)
    relay.breakAll()
    await visitor.picture.waitFor()
    await visitor.sees(visitor.page.locator('#placard-facts'), /seed 5 /)
    expect(await visitor.notice.count()).toBe(0)
    await visitor.keeps(1)
    expect(asked).toEqual([undefined, expect.stringMatching(/^[1-9]\d*$/)])
    // One request, not two: the second connection joined the first one's run.
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(1)
  })
})

/** Makes the next requests reach servers that are shutting down. */
async function drainTimes(visitor: Visitor, times: number): Promise<void> {
  const error = {
    statusCode: 503,
    code: 'DRAINING',
    error: 'Service Unavailable',
    message: 'The server is shutting down.',
    requestId: 'x',
    retry_after: 1
  }
  const body = `id: 1\nevent: error\nretry: 1000\ndata: ${JSON.stringify(error)}\n\n`
  await visitor.page.route('**/generate', (route) => route.fulfill({ contentType: 'text/event-stream', body }), {
    times
  })
}

function focused(visitor: Visitor): Promise<string | undefined> {
  return visitor.page.evaluate(() => document.activeElement?.id)
}

/** Advances the page's clock until the button is enabled. */
async function countDown(visitor: Visitor): Promise<void> {
  const retry = visitor.button(/^Try again/)
  await until('the retry button is enabled', async () => {
    await visitor.page.clock.fastForward('01:00')
    return retry.isEnabled()
  })
}

/** A connection to the server that tests can break. */
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
