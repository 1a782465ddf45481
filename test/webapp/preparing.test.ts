import axe from 'axe-core'
import { describe, expect, it } from 'vitest'
import { startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser } from './support/visitor.js'

const enter = useBrowser()

describe('while the model is compiling', () => {
  it('says what is happening, since when, and that it may take an hour', async () => {
    const server = await startServer({ WORKER_ARGS: '--fake-warm-ms 600000' })
    const visitor = await enter(server.url)
    await visitor.sees(visitor.page.locator('#service'), /Preparing the model/)
    await visitor.sees(visitor.page.locator('#blank-title'), /The model is being prepared/)
    const words = visitor.page.locator('#blank-text')
    const { uptime_seconds: uptime } = (await (await fetch(`${server.url}/health`)).json()) as {
      uptime_seconds: number
    }
    const times = await visitor.page.evaluate(
      (seconds) =>
        [-2, 0, 2].map((off) =>
          new Date(Date.now() + (off - seconds) * 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
        ),
      uptime
    )
    const text = (await words.textContent())!
    expect(times.some((time) => text.startsWith(`Since ${time}`))).toBe(true)
    expect(text).toMatch(/up to an hour/)
    // It does not mention suggested prompts when it shows none.
    expect(text).not.toMatch(/one of these/)
    expect(await visitor.page.locator('.example').count()).toBe(0)
    for (const name of ['num_inference_steps', 'guidance_scale'])
      expect(await visitor.page.locator(`#${name}`).getAttribute('placeholder')).toBe('auto')
    expect(await visitor.page.getByRole('progressbar').getAttribute('aria-valuetext')).toBe(
      'The model is being prepared'
    )
    expect(await visitor.page.title()).toBe('Preparing · Easel')
    await visitor.page.evaluate(axe.source)
    expect(
      await visitor.page.evaluate(async () =>
        (await (window as unknown as { axe: typeof import('axe-core') }).axe.run()).violations.map(({ id }) => id)
      )
    ).toEqual([])
  })

  it('shows the time, queues requests, and starts them as soon as the model is ready', async () => {
    const server = await startReadyServer({ DEFAULT_NEGATIVE_PROMPT: 'fog' })
    let [starting, uptime] = [true, 200]
    const visitor = await enter(server.url)
    await visitor.page.route('**/health', async (route) => {
      const response = await route.fetch()
      const health = (await response.json()) as object
      const none = {
        status: 'starting',
        uptime_seconds: uptime,
        model: null,
        sizes: [],
        coming: [],
        schedulers: [],
        features: [],
        defaults: null,
        limits: null
      }
      await route.fulfill(starting ? { response, status: 503, json: { ...health, ...none } } : { response })
    })
    await visitor.page.evaluate(() => localStorage.clear())
    await visitor.open()
    await visitor.sees(visitor.page.locator('#blank-text'), /Since .+ \(3 min\)\./)
    // Also after a reload: the server has still not reported its default negative prompt.
    await visitor.open()
    await visitor.paint({ prompt: 'early' })
    await visitor.sees(visitor.page.locator('#next-head'), /1 waiting for the model/)
    expect(await visitor.notice.count()).toBe(0)
    uptime = 4000
    await visitor.sees(visitor.page.locator('#service'), /Preparing the model … 1 h 6 min/)
    await visitor.sees(visitor.page.locator('#blank-text'), /\(1 h 6 min\)/)
    starting = false
    await visitor.picture.waitFor()
    expect(await visitor.page.locator('#next').isVisible()).toBe(false)
    expect(await visitor.page.title()).toBe('Easel')
    // Requested before the server's default was known, so the server applies it.
    await visitor.sees(visitor.page.locator('#placard-negative'), /^Negative prompt: fog$/)
  })

  it('reports when a ready model becomes unavailable, and restores the earlier text when it is ready', async () => {
    const server = await startReadyServer()
    let away = false
    const visitor = await enter(server.url)
    await visitor.page.route('**/health', async (route) => {
      const response = await route.fetch()
      await route.fulfill(
        away
          ? { response, status: 503, json: { ...((await response.json()) as object), status: 'unavailable' } }
          : { response }
      )
    })
    await visitor.page.evaluate(() => localStorage.clear())
    await visitor.open()
    await visitor.ready()
    await visitor.sees(visitor.page.locator('#blank-text'), /start with one of these/)
    const ask = () => visitor.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
    away = true
    await ask()
    await visitor.sees(visitor.page.locator('#blank-title'), /The model is restarting/)
    expect(await visitor.page.locator('.example').count()).toBe(0)
    away = false
    await ask()
    await until(
      'the page announces that the model is ready',
      async () => (await visitor.page.locator('#announce').textContent()) === 'The model is ready'
    )
    await visitor.page.locator('.example').first().click()
    await visitor.submit.click()
    await visitor.picture.waitFor()
  })
})
