import type { Locator } from 'playwright-core'
import { describe, expect, it } from 'vitest'
import { openServer, type RunningServer, shareServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
/** 1366×768 at 200 % zoom. */
const ZOOMED = { viewport: { width: 683, height: 384 }, deviceScaleFactor: 2 }
const SEVEN = '1024x1024,1152x896,896x1152,1216x832,832x1216,1344x768,768x1344'

shareServer((ready) => (server = ready), { WORKER_ARGS: `--fake-step-ms 10 --sizes ${SEVEN}` })

describe.each([
  ['on a phone', PHONE],
  ['at 200 %', ZOOMED]
])('%s', (_, options) => {
  it('keeps the finished picture in view', async () => {
    const visitor = await enter(server.url, options)
    await visitor.ready()
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'in sight', num_inference_steps: 60 })
    await visitor.sees(visitor.progress, /Sending/)
    await settled(visitor)
    await inSight(visitor, visitor.page.locator('#frame'))
    const before = await top(visitor.page.locator('#frame'))
    await release()
    await visitor.picture.waitFor()
    await visitor.page.locator('#placard').waitFor()
    await settled(visitor)
    expect(Math.abs((await top(visitor.page.locator('#frame'))) - before)).toBeLessThanOrEqual(1)
    await inSight(visitor, visitor.page.locator('#frame'))
  })

  it('does not move a field when a picture above it finishes', async () => {
    const visitor = await enter(server.url, options)
    await visitor.ready()
    const release = await visitor.hold()
    await visitor.paint({ prompt: 'out of sight', num_inference_steps: 60 })
    await visitor.sees(visitor.progress, /Sending/)
    await settled(visitor)
    const field = visitor.page.locator('#seed')
    await field.evaluate((element) => element.scrollIntoView({ block: 'start', behavior: 'instant' }))
    await settled(visitor)
    const before = await top(field)
    await release()
    await visitor.page.locator('#placard').waitFor()
    await settled(visitor)
    expect(Math.abs((await top(field)) - before)).toBeLessThanOrEqual(1)
  })

  it('covers no field at any scroll position', async () => {
    const visitor = await enter(server.url, options)
    await visitor.ready()
    for (const name of ['prompt', 'negative_prompt', 'num_inference_steps', 'seed']) {
      for (const block of ['start', 'center', 'end'] as const) {
        const covered = await visitor.page.locator(`#${name}`).evaluate((field, block) => {
          field.scrollIntoView({ block, behavior: 'instant' })
          const { left, top, right, bottom } = field.getBoundingClientRect()
          const points = [0.1, 0.5, 0.9]
            .map((share) => top + (bottom - top) * share)
            .filter((y) => y > 0 && y < innerHeight)
          return points.filter((y) => document.elementFromPoint((left + right) / 2, y) !== field)
        }, block)
        expect(covered, `${name} at the ${block}`).toEqual([])
      }
    }
  })

  it('cuts off no text on the blank canvas', async () => {
    const visitor = await enter(server.url, options)
    await visitor.ready()
    const frame = (await visitor.page.locator('#frame').boundingBox())!
    const words = (await visitor.page.locator('#blank').boundingBox())!
    expect(words.height).toBeLessThanOrEqual(frame.height)
    expect(
      await visitor.page.locator('#blank').evaluate(({ scrollHeight, clientHeight }) => scrollHeight - clientHeight)
    ).toBe(0)
  })
})

describe.each([
  [1366, 768],
  [1440, 900],
  [2560, 1440]
])('on a screen of %d×%d', (width, height) => {
  it('shows Generate with seven sizes, and Download with a long prompt, without scrolling', async () => {
    const visitor = await enter(server.url, { viewport: { width, height } })
    await visitor.ready()
    expect(await visitor.page.locator('.chip').count()).toBe(7)
    await inSight(visitor, visitor.submit)
    let release = await visitor.hold()
    await visitor.write({ prompt: 'very '.repeat(60) + 'long', num_inference_steps: 30 })
    await visitor.page.keyboard.press('Control+Enter')
    await visitor.sees(visitor.progress, /Sending/)
    await inSight(visitor, visitor.submit)
    await inSight(visitor, visitor.button('Stop'))
    await release()
    await visitor.picture.waitFor()
    await visitor.page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }))
    await inSight(visitor, visitor.page.getByRole('link', { name: 'Download' }))
    await inSight(visitor, visitor.page.locator('#frame'))
    // The picture takes most of the height.
    expect((await visitor.page.locator('#frame').boundingBox())!.height).toBeGreaterThan(height * 0.65)

    release = await visitor.hold()
    await visitor.rests()
    await visitor.paint({ prompt: 'four of them', num_images: 4, num_inference_steps: 60 })
    await visitor.sees(visitor.progress, /Sending/)
    await visitor.page.evaluate(() => scrollTo({ top: 0, behavior: 'instant' }))
    await inSight(visitor, visitor.page.locator('#tray'))
    await release()
  })
})

it('puts no text over the legs of the easel', async () => {
  const visitor = await enter(server.url)
  await visitor.ready()
  await visitor.paint({ prompt: 'on three legs', num_inference_steps: 2 })
  await visitor.sees(visitor.progress, /Finished/)
  const legs = (await visitor.page.locator('.legs').boundingBox())!
  expect(await top(visitor.progress)).toBeGreaterThanOrEqual(legs.y + legs.height)
})

it('folds and unfolds a long prompt', async () => {
  const { server: own, stop } = await openServer()
  try {
    await own.pool.firstReady
    const visitor = await enter(own.url)
    await visitor.ready()
    await visitor.page.locator('.fine summary').click()
    await visitor.page.getByLabel('Truncate prompts that are too long').check()
    await visitor.paint({ prompt: 'word '.repeat(6390), num_inference_steps: 2 })
    await visitor.picture.waitFor()
    const placard = visitor.page.locator('#placard')
    const height = async () => (await placard.boundingBox())!.height
    const folded = await height()
    expect(folded).toBeLessThan(350)
    await visitor.button('Show all').click()
    expect(await height()).toBeGreaterThan(2000)
    await visitor.button('Show less').click()
    expect(await height()).toBe(folded)
    await visitor.sees(visitor.page.locator('#placard-facts'), /prompt truncated/)
    expect((await visitor.sketches.first().getAttribute('aria-label'))!.length).toBeLessThan(200)
  } finally {
    await stop()
  }
})

describe('a right-to-left prompt', () => {
  const prompt = 'منارة في عاصفة'

  it('sets the direction of its field and label, not of the page', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt, negative_prompt: 'ضباب', num_inference_steps: 2 })
    await visitor.picture.waitFor()
    for (const id of ['prompt', 'negative_prompt', 'placard-prompt', 'placard-negative-text'])
      expect(await direction(visitor.page.locator(`#${id}`)), id).toBe('rtl')
    expect(await direction(visitor.page.locator('#placard-facts'))).toBe('ltr')
    await visitor.write({ prompt: 'a lighthouse' })
    expect(await direction(visitor.page.locator('#prompt'))).toBe('ltr')
  })
})

function direction(place: Locator): Promise<string> {
  return place.evaluate((element) => getComputedStyle(element).direction)
}

function top(place: Locator): Promise<number> {
  return place.evaluate((element) => Math.round(element.getBoundingClientRect().top))
}

/** Waits until scrolling and resizing have ended. */
async function settled(visitor: Visitor): Promise<void> {
  const look = () =>
    visitor.page.evaluate(
      () =>
        new Promise<string>((resolve) =>
          requestAnimationFrame(() =>
            requestAnimationFrame(() => resolve(`${scrollY} ${document.documentElement.scrollHeight}`))
          )
        )
    )
  let [last, same] = ['', 0]
  await until('the layout is stable', async () => {
    const now = await look()
    same = now === last ? same + 1 : 0
    last = now
    return same >= 5
  })
}

async function inSight(visitor: Visitor, place: Locator): Promise<void> {
  const { y, height } = (await place.boundingBox())!
  expect(y).toBeGreaterThanOrEqual(0)
  expect(y + height).toBeLessThanOrEqual(visitor.page.viewportSize()!.height)
}
