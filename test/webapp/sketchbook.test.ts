import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it, onTestFinished } from 'vitest'
import { openServer, type RunningServer, shareServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer

shareServer((ready) => (server = ready))

describe('the history', () => {
  it('keeps pictures across a reload, newest first, and deletes one or all', async () => {
    const visitor = await withPictures('one', 'two', 'three')
    await visitor.open()
    await visitor.sketches.nth(2).waitFor()
    expect(await labels(visitor)).toEqual(['three, seed 3', 'two, seed 2', 'one, seed 1'])

    await visitor.sketches.nth(1).click()
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^two$/)
    expect(await visitor.sketches.nth(1).getAttribute('aria-selected')).toBe('true')
    expect(await visitor.picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(64)
    await visitor.button('Delete', true).click()
    await visitor.keeps(2)
    await visitor.open()
    await visitor.sketches.nth(1).waitFor()
    expect(await labels(visitor)).toEqual(['three, seed 3', 'one, seed 1'])

    const clear = visitor.page.locator('.sketchbook-head').getByRole('button', { name: 'Delete all' })
    await clear.click()
    await visitor.button('Keep them').click()
    expect(await visitor.sketches.count()).toBe(2)
    await clear.click()
    await visitor.page.getByRole('dialog').getByRole('button', { name: 'Delete all' }).click()
    await visitor.keeps(0)
    await visitor.open()
    await visitor.ready()
    expect(await visitor.sketches.count()).toBe(0)
  })

  it('shows the neighbour of a deleted picture, and restores it on undo', async () => {
    const visitor = await withPictures('one', 'two', 'three')
    const title = visitor.page.locator('#placard-prompt')
    const remove = visitor.button('Delete', true)
    // Stop the clock, so that undo stays available during the test.
    await visitor.page.clock.install()
    await visitor.page.clock.pauseAt(Date.now() + 60_000)
    await visitor.sketches.nth(1).click()
    await visitor.sees(title, /^two$/)
    await remove.focus()
    await visitor.page.keyboard.press('Enter')
    await visitor.sees(title, /^one$/)
    await visitor.keeps(2)
    expect(await remove.evaluate((button) => button === document.activeElement)).toBe(true)
    await visitor.button('Undo').click()
    await visitor.sees(title, /^two$/)
    expect(await labels(visitor)).toEqual(['three, seed 3', 'two, seed 2', 'one, seed 1'])

    // The last picture has none after it, and a single one has no neighbour.
    await visitor.sketches.nth(2).click()
    await visitor.sees(title, /^one$/)
    for (const [left, prompt] of [
      [2, 'two'],
      [1, 'three']
    ] as const) {
      await remove.click()
      await visitor.sees(title, new RegExp(`^${prompt}$`))
      await visitor.keeps(left)
    }
    await remove.focus()
    await visitor.page.keyboard.press('Enter')
    await visitor.page.locator('#blank').waitFor()
    await visitor.keeps(0)
    expect(await visitor.button('Undo').evaluate((button) => button === document.activeElement)).toBe(true)
    await visitor.page.locator('#theme').focus()
    await visitor.page.keyboard.press('Control+z')
    await visitor.sees(title, /^three$/)
    expect(await visitor.picture.evaluate((image: HTMLImageElement) => image.naturalWidth)).toBe(64)
    await visitor.open()
    await visitor.keeps(1)
    expect(await labels(visitor)).toEqual(['three, seed 3'])
  })

  it("lists a request's pictures in the order of the tray, which hides deleted ones", async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'before', seed: 90, num_inference_steps: 3 })
    await visitor.keeps(1)
    await visitor.rests()
    await visitor.paint({ prompt: 'four', seed: 10, num_images: 4, num_inference_steps: 3 })
    await visitor.keeps(5)
    const sources = (selector: string) =>
      visitor.page.locator(selector).evaluateAll((images) => images.map((image) => (image as HTMLImageElement).src))
    expect((await labels(visitor)).slice(0, 4)).toEqual([10, 11, 12, 13].map((seed) => `four, seed ${seed}`))
    expect((await sources('.sketch img')).slice(0, 4)).toEqual(await sources('.thumb img'))

    await visitor.sketches.nth(1).click()
    await visitor.page.locator('.thumb:nth-child(2)[aria-selected=true]').waitFor()
    await visitor.button('Delete', true).click()
    await visitor.page.locator('.thumb:nth-child(3)[aria-selected=true]').waitFor()
    expect(await visitor.page.locator('.thumb:visible').count()).toBe(3)
    await visitor.button('Undo').click()
    await visitor.page.locator('.thumb:nth-child(2)[aria-selected=true]').waitFor()
    expect((await sources('.sketch img')).slice(0, 4)).toEqual(await sources('.thumb img'))
  })

  it('is one tab stop, with arrow keys inside', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'many', seed: 20, num_images: 16, num_inference_steps: 2 })
    await visitor.keeps(16)
    await visitor.rests()
    const { keyboard } = visitor.page
    const here = () =>
      visitor.page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? document.activeElement?.id)
    for (const [list, before, first] of [
      ['.tray', '#remove', 'Image 1'],
      ['.sketches', '#clear', 'many, seed 20']
    ] as const) {
      expect(await visitor.page.locator(`${list} [tabindex="0"]`).count()).toBe(1)
      await visitor.page.locator(before).focus()
      await keyboard.press('Tab')
      expect(await here()).toBe(first)
    }
    const columns = await visitor.sketches.evaluateAll(
      (all) => all.filter((one) => (one as HTMLElement).offsetTop === (all[0] as HTMLElement).offsetTop).length
    )
    expect(columns).toBeLessThan(16)
    const seeds: [string, number][] = [
      ['ArrowRight', 21],
      ['ArrowLeft', 20],
      ['ArrowLeft', 20],
      ['ArrowDown', 20 + columns],
      ['ArrowUp', 20],
      ['End', 35],
      ['ArrowRight', 35],
      ['Home', 20],
      ['ArrowRight', 21]
    ]
    for (const [key, seed] of seeds) {
      await keyboard.press(key)
      expect(await here(), key).toBe(`many, seed ${seed}`)
    }
    await keyboard.press('Enter')
    await visitor.sees(visitor.page.locator('#placard-facts'), /seed 21 /)
    // Tabbing back returns to where it was left.
    await keyboard.press('Shift+Tab')
    await keyboard.press('Tab')
    expect(await here()).toBe('many, seed 21')
  })

  it('shows an older image while another is made, and allows returning', async () => {
    const slow = await openServer({ WORKER_ARGS: '--fake-step-ms 25' })
    onTestFinished(slow.stop)
    await slow.server.pool.firstReady
    const visitor = await enter(slow.server.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'old', num_inference_steps: 2 })
    await visitor.picture.waitFor()
    await visitor.paint({ prompt: 'new', num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    await visitor.sketches.first().click()
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^old$/)
    await visitor.sees(visitor.progress, /Step/)
    await visitor.page.locator('.thumb').click()
    await visitor.page.locator('.frame[data-state=painting]').waitFor()
    expect(await visitor.page.locator('#placard').isVisible()).toBe(false)

    // After deleting a picture without a neighbour, the one in progress is back on the easel.
    await visitor.sketches.first().click()
    await visitor.button('Delete', true).click()
    await visitor.page.locator('.frame[data-state=painting]').waitFor()
    expect(await visitor.page.locator('#placard').isVisible()).toBe(false)
    await visitor.button('Undo').click()
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^old$/)
    await visitor.page.locator('.thumb').click()
    await visitor.button('Stop').click()
    await visitor.page.locator('#blank').waitFor()
    expect(await visitor.sketches.count()).toBe(1)
  })

  it("fills the form with a picture's settings, which reproduce it", async () => {
    const visitor = await withPictures('the first')
    await visitor.paint({
      prompt: 'another',
      negative_prompt: 'grey',
      seed: 99,
      num_inference_steps: 5,
      guidance_scale: 2
    })
    await visitor.keeps(2)
    await visitor.sketches.last().click()
    const before = await visitor.download()
    await visitor.button('Use these settings').click()
    expect(await visitor.page.locator('#prompt').inputValue()).toBe('the first')
    expect(await visitor.page.locator('#seed').inputValue()).toBe('1')
    expect(await visitor.page.locator('#negative_prompt').inputValue()).toBe('')
    await visitor.submit.click()
    await visitor.keeps(3)
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^the first$/)
    expect((await visitor.download()).bytes.equals(before.bytes)).toBe(true)
  })

  it('copies a curl command that makes the same file', async () => {
    const visitor = await withPictures('it\'s "quoted" $HOME `id` \\ ünï')
    await visitor.context.grantPermissions(['clipboard-read', 'clipboard-write'])
    const { name, bytes } = await visitor.download()
    await visitor.button('Copy as curl').click()
    await visitor.sees(visitor.page.locator('#toast'), /Copied/)
    const command = await visitor.page.evaluate(() => navigator.clipboard.readText())
    const folder = mkdtempSync(join(tmpdir(), 'easel-curl-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    // Not execFileSync: the server runs in this process.
    await promisify(execFile)('sh', ['-c', command.replace('curl ', 'curl --silent --fail ')], { cwd: folder })
    expect(readFileSync(join(folder, name)).equals(bytes)).toBe(true)
  })
})

describe('the form', () => {
  it('is restored after a reload', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'half a thought', negative_prompt: 'noise', num_inference_steps: 9 })
    await visitor.page.locator('.chip', { hasText: '32×48' }).click()
    await visitor.open()
    await visitor.ready()
    expect(await visitor.page.locator('#prompt').inputValue()).toBe('half a thought')
    expect(await visitor.page.locator('#num_inference_steps').inputValue()).toBe('9')
    expect(await visitor.page.locator('.chip input:checked').inputValue()).toBe('32×48')
    await visitor.submit.click()
    await visitor.picture.waitFor()
    expect(
      await visitor.picture.evaluate((image: HTMLImageElement) => [image.naturalWidth, image.naturalHeight])
    ).toEqual([32, 48])
  })

  it('rolls seeds, limits the number of pictures, and syncs sliders with their fields', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    const value = (id: string) => visitor.page.locator(id).inputValue()
    await visitor.button('Random seed').click()
    const seed = await value('#seed')
    expect(seed).toMatch(/^\d{1,10}$/)
    await visitor.button('Random seed').click()
    expect(await value('#seed')).not.toBe(seed)
    await visitor.button('Fewer images').click()
    expect(await value('#num_images')).toBe('1')
    await visitor.button('More images').click()
    expect(await value('#num_images')).toBe('2')
    await visitor.page.getByLabel('Steps, as a slider').fill('33')
    expect(await value('#num_inference_steps')).toBe('33')
    await visitor.write({ guidance_scale: 7.5 })
    expect(await visitor.page.getByLabel('Guidance, as a slider').inputValue()).toBe('7.5')
  })

  it('offers JPEG and WebP with a quality', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.locator('.fine summary').click()
    expect(await visitor.page.locator('#quality').isVisible()).toBe(false)
    await visitor.page.locator('#output_format').selectOption('jpeg')
    await visitor.paint({ prompt: 'a small file', quality: 40, num_inference_steps: 2 })
    await visitor.picture.waitFor()
    const { name, bytes } = await visitor.download()
    expect(name).toMatch(/^a-small-file-\d+\.jpg$/)
    expect(bytes.subarray(0, 3)).toEqual(Buffer.from([0xff, 0xd8, 0xff]))
  })
})

async function withPictures(...prompts: string[]): Promise<Visitor> {
  const visitor = await enter(server.url)
  await visitor.ready()
  for (const [index, prompt] of prompts.entries()) {
    await visitor.paint({ prompt, seed: index + 1, num_inference_steps: 3 })
    await visitor.keeps(index + 1)
    await visitor.rests()
  }
  return visitor
}

function labels(visitor: Visitor): Promise<(string | null)[]> {
  return visitor.sketches.evaluateAll((sketches) => sketches.map((sketch) => sketch.getAttribute('aria-label')))
}
