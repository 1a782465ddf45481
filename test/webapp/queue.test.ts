import { describe, expect, it } from 'vitest'
import { generate, idle, metric, running, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()

describe('a request while another runs', () => {
  it('waits in the listed queue and runs in turn', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    const sent: string[] = []
    visitor.page.on('request', (request) => request.url().endsWith('/generate') && sent.push(request.url()))
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'first', seed: 1, num_inference_steps: 3 })
    await visitor.paint({ prompt: 'second', seed: 2, num_images: 2, num_inference_steps: 3 })
    await visitor.paint({ prompt: 'الثالث', seed: 3, num_images: 1 })
    expect(await waiting(visitor)).toEqual(['second2 × 64×64', 'الثالث64×64'])
    await visitor.sees(visitor.page.locator('#next-head'), /^2 waiting$/)
    expect(
      await visitor.page
        .locator('.next-prompt')
        .last()
        .evaluate((prompt) => getComputedStyle(prompt).direction)
    ).toBe('rtl')
    // The server gets one at a time: more would take connections that the page needs.
    expect(sent).toHaveLength(1)
    await release()
    await visitor.keeps(4)
    await visitor.rests()
    expect(sent).toHaveLength(3)
    expect(await waiting(visitor)).toEqual([])
    expect(await labels(visitor)).toEqual(['الثالث, seed 3', 'second, seed 2', 'second, seed 3', 'first, seed 1'])
  })

  it('cancels any of them, also by keyboard', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 100' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'never finished', num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    for (const prompt of ['one', 'two', 'three']) await visitor.paint({ prompt, num_inference_steps: 2 })
    await visitor.button('Cancel two').click()
    expect(await waiting(visitor)).toEqual(['one64×64', 'three64×64'])
    expect(await here(visitor)).toBe('Cancel three')
    await visitor.page.keyboard.press('Enter')
    expect(await here(visitor)).toBe('Cancel one')
    await visitor.page.keyboard.press('Enter')
    expect(await visitor.page.locator('#next').isVisible()).toBe(false)
    expect(await here(visitor)).toBe('generate')
    await visitor.button('Stop').click()
    await visitor.sees(visitor.progress, /Stopped/)
    await idle(server)
    expect(await visitor.sketches.count()).toBe(0)
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(1)
  })

  it('continues with the next when one is stopped or fails', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 50 --fake-faults raise:7@1' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'stopped', seed: 1, num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    await visitor.paint({ prompt: 'fails', seed: 7, num_inference_steps: 3 })
    await visitor.paint({ prompt: 'is painted', seed: 3 })
    await visitor.page.keyboard.press('Escape')
    await visitor.keeps(1)
    expect(await labels(visitor)).toEqual(['is painted, seed 3'])
    // The form has another prompt by now, so the notice names the failed one.
    await visitor.sees(visitor.notice, /The image could not be made\s*fails/)
    await visitor.button('Dismiss').click()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('leaves an opened picture on the easel when the next request starts', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'looked at', seed: 1, num_inference_steps: 3 })
    await visitor.keeps(1)
    await visitor.rests()
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'second', num_inference_steps: 3 })
    await visitor.paint({ prompt: 'third', num_inference_steps: 1000 })
    await visitor.sketches.first().click()
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^looked at$/)
    await release()
    await visitor.keeps(2)
    await visitor.sees(visitor.progress, /Step \d+ of 1000/)
    expect(await visitor.page.locator('#placard-prompt').textContent()).toBe('looked at')
    await visitor.page.locator('.thumb').click()
    await visitor.page.locator('.frame[data-state=painting]').waitFor()
    await visitor.button('Stop').click()
  })

  it("waits while the server's queue is full, then continues by itself", async () => {
    const server = await startReadyServer({ QUEUE_LIMIT: '1', WORKER_ARGS: '--fake-step-ms 100' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.clock.install()
    const busy = new AbortController()
    const other = generate(
      server,
      { prompt: 'somebody else', num_inference_steps: 1000 },
      { signal: busy.signal }
    ).catch(() => undefined)
    await running(server)
    // Delay the first on its way to the server, so that the second waits behind it.
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'first', num_inference_steps: 2 })
    await visitor.paint({ prompt: 'second' })
    await release()
    await visitor.sees(visitor.notice, /The server is busy/)
    expect(await visitor.notice.innerText()).not.toMatch(/\d requests?/)
    await visitor.sees(visitor.button(/^Try again/), /Try again in/)
    expect(await waiting(visitor)).toEqual(['second64×64'])
    busy.abort()
    await other
    await until('no request is in flight', () => server.service.ledger.inFlight === 0)
    await until('both pictures are made', async () => {
      await visitor.page.clock.fastForward('01:00')
      return (await visitor.sketches.count()) === 2
    })
    expect((await labels(visitor)).map((label) => label?.split(',')[0])).toEqual(['second', 'first'])
    expect(await visitor.notice.count()).toBe(0)
  })
})

/** The requests listed as waiting. */
function waiting(visitor: Visitor): Promise<string[]> {
  return visitor.page.locator('.next-list li').evaluateAll((rows) =>
    rows.map((row) =>
      [...row.children]
        .slice(0, 2)
        .map((part) => part.textContent)
        .join('')
    )
  )
}

function labels(visitor: Visitor): Promise<(string | null)[]> {
  return visitor.sketches.evaluateAll((sketches) => sketches.map((sketch) => sketch.getAttribute('aria-label')))
}

function here(visitor: Visitor): Promise<string | undefined> {
  return visitor.page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.id)
}
