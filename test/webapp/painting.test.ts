import { describe, expect, it } from 'vitest'
import { generate, idle, metric, running, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser } from './support/visitor.js'

const enter = useBrowser()

describe('generating', () => {
  it('shows exactly the file that the server makes from the request', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({
      prompt: 'a lighthouse',
      negative_prompt: 'fog',
      seed: 42,
      num_inference_steps: 7,
      guidance_scale: 3
    })
    await visitor.picture.waitFor()

    expect(await visitor.picture.getAttribute('alt')).toBe('a lighthouse')
    expect(
      await visitor.picture.evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight])
    ).toEqual([64, 64])
    await visitor.sees(visitor.page.locator('#placard-facts'), /seed 42 · 7 steps · guidance 3 · \w+ · 64×64/)
    const { name, bytes } = await visitor.download()
    expect(name).toBe('a-lighthouse-42.png')
    const same = await generate(server, {
      prompt: 'a lighthouse',
      negative_prompt: 'fog',
      seed: 42,
      num_inference_steps: 7,
      guidance_scale: 3,
      width: 64,
      height: 64
    })
    expect(bytes.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
  })

  it('sends the guidance and cache intervals that the visitor sets', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--max-cache-interval 4' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.locator('.fine summary').click()
    const fields = {
      prompt: 'in a hurry',
      seed: 42,
      num_inference_steps: 8,
      guidance_start: 0.25,
      guidance_end: 0.75,
      cache_interval: 2
    }
    await visitor.paint(fields)
    await visitor.picture.waitFor()
    const { bytes } = await visitor.download()
    const same = await generate(server, { ...fields, width: 64, height: 64 })
    expect(JSON.parse(same.headers.get('easel-recipe')!)).toMatchObject(fields)
    expect(bytes.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
  })

  it('shows steps, sharpening previews, and announcements for screen readers', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 60' })
    const visitor = await enter(server.url)
    await visitor.ready()
    const heard = await hear(visitor.page)
    await visitor.paint({ prompt: 'a slow picture', seed: 1, num_inference_steps: 80 })

    await visitor.sees(visitor.progress, /Step \d+ of 80 · .*(left|almost done)/)
    const preview = visitor.page.locator('.frame[data-state=painting] .layer').last()
    await preview.waitFor()
    expect(await preview.getAttribute('src')).toMatch(/^data:image\/jpeg;base64,/)
    const blur = () => preview.evaluate((image: HTMLElement) => Number(image.style.getPropertyValue('--blur')))
    const first = await blur()
    await until('a later preview is sharper', async () => (await blur()) < first)
    expect(Number(await visitor.page.getByRole('progressbar').getAttribute('aria-valuenow'))).toBeGreaterThan(0)
    expect(await visitor.page.title()).toMatch(/^\d+ % · Easel$/)

    await visitor.picture.waitFor()
    await visitor.sees(visitor.progress, /Finished in/)
    expect(await visitor.page.title()).toBe('Easel')
    expect(await heard()).toEqual(expect.arrayContaining(['Generating', '50 percent', 'The image is finished']))
  })

  it('makes several images at once, with consecutive seeds', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'three of them', seed: 10, num_images: 3 })
    await visitor.sees(visitor.progress, /Finished/)
    const thumbs = visitor.page.locator('.thumb img')
    expect(await thumbs.count()).toBe(3)
    for (const index of [0, 1, 2]) {
      await thumbs.nth(index).click()
      await visitor.sees(visitor.page.locator('#placard-facts'), new RegExp(`seed ${10 + index} `))
    }
    await visitor.keeps(3)
  })

  it('shows the position in the queue', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20 --rows 1' })
    const leave = new AbortController()
    const others = Array.from({ length: 5 }, (_, seed) =>
      generate(
        server,
        { prompt: 'before', seed, num_inference_steps: 1000, guidance_scale: 0 },
        { signal: leave.signal }
      ).catch(() => undefined)
    )
    await running(server)
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'third', num_inference_steps: 2, guidance_scale: 0 })
    await visitor.sees(visitor.progress, /(1st|2nd|3rd|4th|5th) in the queue/)
    leave.abort()
    await visitor.picture.waitFor()
    await Promise.all(others)
  })

  it('stops with the button or Escape, and frees the worker', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const visitor = await enter(server.url)
    await visitor.ready()
    for (const [index, stop] of [
      () => visitor.button('Stop').click(),
      () => visitor.page.keyboard.press('Escape')
    ].entries()) {
      await visitor.paint({ prompt: 'never finished', num_inference_steps: 1000 })
      await visitor.sees(visitor.progress, /Step/)
      await stop()
      await visitor.sees(visitor.progress, /Stopped/)
      await idle(server)
      await until(
        'the request is counted as cancelled',
        async () => (await metric(server, 'easel_requests_total', 'outcome="cancelled"')) === index + 1
      )
    }
    expect(await visitor.button('Stop').isVisible()).toBe(false)
    expect(await visitor.sketches.count()).toBe(0)
  })

  it('stops the work when the visitor leaves', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'never seen', num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    await visitor.page.goto('about:blank')
    await until(
      'the request is counted as cancelled',
      async () => (await metric(server, 'easel_requests_total', 'outcome="cancelled"')) === 1
    )
    await idle(server)
  })

  it('shows sizes that are still compiling, and chooses the wanted one once it is ready', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--sizes 64x64,32x48,96x64' })
    const visitor = await enter(server.url)
    await visitor.ready()
    let coming: unknown
    await visitor.page.route('**/health', async (route) => {
      const response = await route.fetch()
      const health = (await response.json()) as { sizes: number[][]; coming?: unknown }
      // Older servers do not send `coming`.
      if (coming === undefined) delete health.coming
      await route.fulfill({
        response,
        json:
          coming === undefined
            ? health
            : {
                ...health,
                sizes: [
                  [64, 64],
                  [32, 48]
                ],
                coming
              }
      })
    })
    const [tall, wide] = ['32×48', '96×64'].map((name) => visitor.page.getByRole('radio', { name: new RegExp(name) }))
    const names = () => visitor.page.locator('.chip').allTextContents()
    const chosen = () => visitor.page.locator('.chip input:checked').inputValue()
    const change = async (next: unknown) => {
      coming = next
      await visitor.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')))
      await until('the page shows the new sizes', async () => (await wide!.isDisabled()) === (next !== undefined))
    }
    await wide!.check()
    await change([[96, 64]])
    expect(await names()).toEqual(['1:1 64×64', '2:3 32×48', '3:2 96×64, still being prepared'])
    expect(await chosen()).toBe('64×64')
    await change(undefined)
    expect(await names()).toEqual(['1:1 64×64', '2:3 32×48', '3:2 96×64'])
    expect(await chosen()).toBe('96×64')

    await change([[96, 64]])
    await tall!.check()
    await change(undefined)
    expect(await chosen()).toBe('32×48')

    await change([[96, 64]])
    const picture = await generate(server, { prompt: 'wide', width: 96, height: 64, seed: 3, num_inference_steps: 2 })
    await visitor.page
      .locator('#file')
      .setInputFiles({ name: 'wide.png', mimeType: 'image/png', buffer: Buffer.from(await picture.arrayBuffer()) })
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^wide$/)
    expect(await chosen()).toBe('32×48')
    await change(undefined)
    expect(await chosen()).toBe('96×64')
  })

  it('starts with Ctrl+Enter from anywhere in the form', async () => {
    const server = await startReadyServer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'by hand only', num_inference_steps: 3 })
    await visitor.page.locator('#num_inference_steps').press('Control+Enter')
    await visitor.picture.waitFor()
    await visitor.keeps(1)
  })
})

/** Collects the announcements to a screen reader. */
async function hear(page: import('playwright-core').Page): Promise<() => Promise<string[]>> {
  const log = await page.evaluateHandle(() => {
    const texts: string[] = []
    const live = document.querySelector('#announce')!
    new MutationObserver(() => texts.push(live.textContent)).observe(live, {
      childList: true,
      characterData: true,
      subtree: true
    })
    return texts
  })
  return () => log.jsonValue()
}
