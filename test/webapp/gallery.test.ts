import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import axe from 'axe-core'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { type RunningServer, shareServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

/**
 * With PAGE_SCREENSHOTS=1 the demo model runs, and the README's screenshots are retaken:
 *
 *     PAGE_SCREENSHOTS=1 npx vitest run test/webapp/gallery.test.ts
 */
const SCREENSHOTS = process.env['PAGE_SCREENSHOTS'] === '1'
const IMAGES = join(packageRoot, 'docs/images')
/** The screenshots in the README. */
const KEPT = new Set([
  'page-light-painting',
  'page-light-done',
  'page-dark-done',
  'page-phone-painting',
  'page-phone-dark-done'
])
/** The demo model on a slow machine. */
const MAKING_MS = 180_000

const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }
const looks = [
  ['light', {}],
  ['dark', { colorScheme: 'dark' as const }],
  ['phone', PHONE],
  ['phone-dark', { ...PHONE, colorScheme: 'dark' as const }]
] as const

const enter = useBrowser()
let server: RunningServer

shareServer(
  (ready) => (server = ready),
  SCREENSHOTS ? { ENGINE: 'sdxl', WORKER_ARGS: '--sizes 128x128' } : { WORKER_ARGS: '--fake-step-ms 40' },
  300_000
)

describe.each(looks)('the page, %s', (look, options) => {
  it('has no accessibility violation in any state', async () => {
    const visitor = await enter(server.url, { ...options, reducedMotion: 'reduce' })
    await visitor.ready()
    // The model's programs for pictures are compiled last.
    await visitor.page.locator('#start-field').waitFor()
    await check(visitor, look, 'blank')

    const release = await visitor.hold()
    await visitor.paint({ prompt: 'a pear on its way' })
    await visitor.paint({ prompt: 'a pear that waits' })
    await check(visitor, look, 'queue')
    await visitor.button('Cancel a pear that waits').click()
    await visitor.button('Stop').click()
    await visitor.rests()
    await release()

    await visitor.paint({ prompt: 'a red circle on a blue background', seed: 3, num_images: 4, ...steps(60) })
    const preview = visitor.page.locator('.frame[data-state=painting] .layer').last()
    await preview.waitFor()
    await until(
      'the progress reaches 20 %',
      async () => Number(await visitor.page.getByRole('progressbar').getAttribute('aria-valuenow')) >= 20,
      MAKING_MS
    )
    await check(visitor, look, 'painting')
    await visitor.keeps(4, MAKING_MS)
    await visitor.rests()
    await visitor.write({ num_images: 1 })
    for (const prompt of ['a yellow triangle on a purple background', 'a green square on a white background']) {
      const before = await visitor.sketches.count()
      await visitor.paint({ prompt, seed: 11, ...steps(4) })
      await visitor.keeps(before + 1, MAKING_MS)
      await visitor.rests()
    }
    await visitor.page.locator('.recipe summary').click()
    await visitor.page.locator('.fine summary').click()
    await check(visitor, look, 'open')
    await visitor.page.locator('.recipe summary').click()
    await visitor.page.locator('.fine summary').click()
    await visitor.sketches.nth(5).click()
    await check(visitor, look, 'done')

    if (!SCREENSHOTS) await checkPicture(visitor, look)
    await visitor.button('Delete', true).click()
    await visitor.keeps(5)
    // The toast stays open while it has the focus.
    await visitor.button('Undo').focus()
    await check(visitor, look, 'deleted')
    await visitor.button('Undo').click()
    await visitor.keeps(6)

    await visitor.page.getByRole('button', { name: 'Delete all' }).click()
    await check(visitor, look, 'dialog')
    await visitor.button('Keep them').click()
    await visitor.paint({ prompt: 'long '.repeat(90) })
    await visitor.button('Generate with a truncated prompt').waitFor()
    await check(visitor, look, 'too-long')
    await visitor.context.setOffline(true)
    await visitor.paint({ prompt: 'nobody there' })
    await visitor.notice.waitFor()
    await check(visitor, look, 'notice')
    await visitor.write({ prompt: '' })
    await visitor.submit.click()
    await check(visitor, look, 'field-error')
  }, 300_000)

  it('is not wider than the screen', async () => {
    const visitor = await enter(server.url, options)
    await visitor.ready()
    await visitor.paint({ prompt: 'x'.repeat(300), num_inference_steps: 2 })
    await visitor.page.locator('#placard:visible, #prompt-error:not(:empty)').first().waitFor()
    expect(
      await visitor.page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth)
    ).toBe(true)
  })
})

describe('the theme', () => {
  it('is what the visitor chose, and persists', async () => {
    const visitor = await enter(server.url, { colorScheme: 'light' })
    const background = () => visitor.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
    const light = await background()
    await visitor.button('Auto theme').click()
    expect(await background()).toBe(light)
    await visitor.button('Light theme').click()
    const dark = await background()
    expect(dark).not.toBe(light)
    await visitor.open()
    expect(await background()).toBe(dark)
    await visitor.button('Dark theme').click()
    expect(await background()).toBe(light)
    await visitor.page.emulateMedia({ colorScheme: 'dark' })
    expect(await background()).toBe(dark)
  })
})

/** Checks the form with a picture and a mask, and both dialogs. */
async function checkPicture(visitor: Visitor, look: string): Promise<void> {
  await visitor.button('Start from it').click()
  await visitor.button('Extend').click()
  await visitor.page.locator('#extend-board').waitFor()
  await visitor.page.keyboard.press('-')
  await check(visitor, look, 'extend')
  await visitor.button('Place it').click()
  await visitor.page.locator('#start-mask').waitFor()
  await visitor.page.getByLabel('Paint only the masked part').check()
  await check(visitor, look, 'picture')
  await visitor.button('Change mask').click()
  await visitor.button('Erase').click()
  await visitor.page.locator('#mask-canvas').focus()
  await visitor.page.keyboard.press('Space')
  await check(visitor, look, 'mask')
  await visitor.button('Done').click()
  await visitor.button('Remove the picture').click()
}

/** The number of steps; for screenshots, the demo model's default. */
function steps(number: number): Record<string, number> {
  return SCREENSHOTS ? {} : { num_inference_steps: number }
}

/** Checks for violations of WCAG 2.2 AA and best practices, and takes the screenshot if requested. */
async function check(visitor: Visitor, look: string, state: string): Promise<void> {
  await visitor.page.evaluate(axe.source)
  const violations = await visitor.page.evaluate(async () => {
    const { violations } = await (window as unknown as { axe: typeof import('axe-core') }).axe.run()
    return violations.map(
      ({ id, impact, nodes }) =>
        `${impact} ${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join('; ')}`
    )
  })
  expect(violations, `${look}, ${state}`).toEqual([])
  const name = `page-${look}-${state}`
  if (!SCREENSHOTS || !KEPT.has(name)) return
  mkdirSync(IMAGES, { recursive: true })
  await visitor.page.evaluate(() => window.scrollTo({ top: 0, behavior: 'instant' }))
  // On a desktop the full page with the sketchbook; on a phone only the viewport.
  const picture = await visitor.page.screenshot({
    animations: 'disabled',
    fullPage: state === 'done' && !look.startsWith('phone')
  })
  writeFileSync(join(IMAGES, `${name}.png`), await sharp(picture).png({ palette: true, effort: 10 }).toBuffer())
}
