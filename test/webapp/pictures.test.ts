import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import axe from 'axe-core'
import sharp from 'sharp'
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { drawn, rawPixels } from '../support/pictures.js'
import { type Frames, recipePicture } from '../support/recipe-picture.js'
import { type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const SIZE = { width: 64, height: 64 }
const PROMPT = 'a fox\nat night'

const enter = useBrowser()
const pixels = rawPixels(SIZE, 3, (x, y, channel) => (x * 3 + y * 2 + channel * 50) & 255)
let photo: Buffer
let server: RunningServer

shareServer((ready) => (server = ready), { WORKER_ARGS: '--sizes 64x64,32x48,96x64', PICTURE_LIMIT: '200000' })
beforeAll(async () => {
  photo = await sharp(pixels, { raw: { ...SIZE, channels: 3 } })
    .png()
    .toBuffer()
})

const sha256 = (file: Buffer) => createHash('sha256').update(file).digest('hex')
const field = (visitor: Visitor) => visitor.page.locator('#start-field')
const thumb = (visitor: Visitor) => visitor.page.locator('#start-thumb')
const size = (visitor: Visitor) => visitor.page.locator('.chip input:checked').inputValue()

async function choose(visitor: Visitor, buffer: Buffer, name = 'a.png'): Promise<void> {
  await visitor.page.locator('#start-file').setInputFiles({ name, mimeType: 'image/png', buffer })
}

/** Gives the page a file by an event that has a DataTransfer. */
async function give(visitor: Visitor, selector: string, type: 'dragover' | 'drop' | 'paste', file: Buffer) {
  const transfer = await visitor.page.evaluateHandle((base64) => {
    const data = new DataTransfer()
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))
    data.items.add(new File([bytes], 'a.png', { type: 'image/png' }))
    return data
  }, file.toString('base64'))
  if (type !== 'paste') return visitor.page.dispatchEvent(selector, type, { dataTransfer: transfer })
  await visitor.page.locator(selector).evaluate((element, clipboardData) => {
    element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }))
  }, transfer)
}

/** The newest image of the history: its recipe, and the pixels of its file. */
async function newest(visitor: Visitor): Promise<{ file: Buffer; recipe: Recipe; pixels: Buffer }> {
  const { bytes } = await visitor.download()
  const answer = await fetch(`${server.url}/recipe`, {
    method: 'POST',
    headers: { 'content-type': 'image/png' },
    body: new Uint8Array(bytes)
  })
  const { recipe } = (await answer.json()) as { recipe: Recipe }
  return { file: bytes, recipe, pixels: await sharp(bytes).removeAlpha().raw().toBuffer() }
}

/** Presses Generate, or what does, and waits for one more image. */
async function made(visitor: Visitor, press = () => visitor.submit.click()) {
  const before = await visitor.sketches.count()
  await press()
  await visitor.keeps(before + 1)
  await visitor.rests()
  return newest(visitor)
}

async function accessible(visitor: Visitor): Promise<void> {
  await visitor.page.evaluate(axe.source)
  const violations = await visitor.page.evaluate(
    async () => (await (window as unknown as { axe: typeof import('axe-core') }).axe.run()).violations
  )
  expect(violations).toEqual([])
}

/** Remembers the form of the newest request, whose files no other tool shows. */
async function watchForms(visitor: Visitor): Promise<(name?: 'image' | 'mask_image') => Promise<Buffer>> {
  await visitor.page.addInitScript(() => {
    const { fetch } = window
    window.fetch = (input, init) => {
      if (init?.body instanceof FormData) Object.assign(window, { sent: init.body })
      return fetch(input, init)
    }
  })
  await visitor.open()
  await visitor.ready()
  return async (name = 'mask_image') =>
    Buffer.from(
      await visitor.page.evaluate(async (name) => {
        const file = (window as unknown as { sent: FormData }).sent.get(name) as File
        return [...new Uint8Array(await file.arrayBuffer())]
      }, name)
    )
}

/** The mask's file as one channel, cut at the middle as the gateway does. */
async function maskPixels(
  file: Buffer,
  size = SIZE
): Promise<{ pixels: Buffer; white: (x: number, y: number) => boolean }> {
  const { data, info } = await sharp(file)
    .removeAlpha()
    .toColourspace('b-w')
    .raw()
    .toBuffer({ resolveWithObject: true })
  expect(info).toMatchObject({ ...size, channels: 1 })
  const pixels = Buffer.from(data.map((value) => (value >= 128 ? 255 : 0)))
  return { pixels, white: (x, y) => pixels[y * size.width + x] === 255 }
}

/** Where a place of the picture, in its pixels, is on the screen. */
async function placeOf(
  visitor: Visitor,
  board = '#mask-canvas',
  size = SIZE
): Promise<(x: number, y: number) => [x: number, y: number]> {
  const box = (await visitor.page.locator(board).boundingBox())!
  return (x, y) => [box.x + (x / size.width) * box.width, box.y + (y / size.height) * box.height]
}

/** Moves one finger over the screen. */
async function swipe(visitor: Visitor, points: readonly (readonly [x: number, y: number])[]): Promise<void> {
  const session = await visitor.context.newCDPSession(visitor.page)
  for (const [index, [x, y]] of points.entries())
    await session.send('Input.dispatchTouchEvent', {
      type: index === 0 ? 'touchStart' : 'touchMove',
      touchPoints: [{ x, y }]
    })
  await session.send('Input.dispatchTouchEvent', { type: 'touchEnd', touchPoints: [] })
}

describe('a picture to start from', () => {
  it('is chosen, dropped or pasted, shown, sent as it is, and removed', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: PROMPT, seed: 5, num_inference_steps: 10 })
    await choose(visitor, photo)
    await thumb(visitor).waitFor()
    expect(await visitor.page.locator('#strength').inputValue()).toBe('0.6')
    await visitor.sees(field(visitor), /64×64.*Runs the last 6 of 10 steps/s)
    await accessible(visitor)
    const first = await made(visitor)
    expect(first.recipe).toMatchObject({ prompt: PROMPT, image_sha256: sha256(photo), strength: 0.6, width: 64 })
    const frames: Frames = [{ role: 'image', pixels }]
    expect(first.pixels.equals(recipePicture(first.recipe, '', frames))).toBe(true)
    await visitor.sees(visitor.page.locator('#placard-facts'), /from a picture, strength 0\.6/)

    await visitor.button('Remove the picture').click()
    expect(await thumb(visitor).isVisible()).toBe(false)
    expect(await visitor.page.evaluate(() => document.activeElement?.id)).toBe('image')
    expect((await made(visitor)).recipe).not.toHaveProperty('image_sha256')

    // A wide one chooses the size that is most like it.
    const wide = await drawn({ width: 300, height: 190 }).png().toBuffer()
    await give(visitor, 'body', 'dragover', wide)
    await give(visitor, '#drop-start', 'dragover', wide)
    await visitor.page.locator('#drop-start[data-over]').waitFor()
    await accessible(visitor)
    await give(visitor, '#drop-start', 'drop', wide)
    await visitor.sees(field(visitor), /300×190/)
    expect(await size(visitor)).toBe('96×64')
    expect(await visitor.page.locator('#drop').isVisible()).toBe(false)
    await give(visitor, 'body', 'paste', photo)
    await visitor.sees(field(visitor), /64×64/)
    await visitor.page.locator('.fine summary').click()
    await visitor.page.locator('#resize_mode').selectOption('crop')
    await visitor.page.getByLabel('Strength, as a slider').fill('0.25')
    expect((await made(visitor)).recipe).toMatchObject({ strength: 0.25, resize_mode: 'crop', width: 64 })
  })

  it('may be an image of the history, whose settings come back with their picture', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'one', seed: 1, num_inference_steps: 10 })
    const first = await made(visitor)
    const varied = await made(visitor, () => visitor.button('Vary').click())
    expect(varied.recipe).toMatchObject({ prompt: 'one', image_sha256: sha256(first.file), strength: 0.6 })
    expect(varied.recipe.seed).not.toBe(1)
    const alike = await made(visitor, () => visitor.button('More like this').click())
    expect(alike.recipe).toEqual({ ...varied.recipe, seed: alike.recipe.seed })
    expect(alike.recipe.seed).not.toBe(varied.recipe.seed)

    // Settings without a picture remove it; those with one find it in the history, also after a reload.
    await visitor.sketches.last().click()
    await visitor.button('Use these settings').click()
    expect(await thumb(visitor).isVisible()).toBe(false)
    await visitor.button('Start from it').click()
    await thumb(visitor).waitFor()
    await visitor.open()
    await visitor.ready()
    await visitor.sketches.first().click()
    await visitor.button('Use these settings').click()
    await thumb(visitor).waitFor()
    expect((await made(visitor)).file.equals(alike.file)).toBe(true)
  })

  it('is asked for if a recipe needs one that is not here', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: PROMPT, seed: 2, num_inference_steps: 10 })
    await choose(visitor, photo)
    await thumb(visitor).waitFor()
    const first = await made(visitor)
    await visitor.open()
    await visitor.ready()
    await visitor.sketches.first().click()
    await visitor.button('Use these settings').click()
    await visitor.sees(visitor.page.locator('#toast'), /except its picture/)
    await visitor.sees(field(visitor), /made from a picture that is not here/)
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#image-error'), /Choose the picture, or go on without it/)
    expect(await visitor.page.evaluate(() => document.activeElement?.id)).toBe('image')
    await accessible(visitor)
    await choose(visitor, photo)
    await thumb(visitor).waitFor()
    expect(await visitor.page.locator('#image-error').textContent()).toBe('')
    expect((await made(visitor)).file.equals(first.file)).toBe(true)

    // The curl command reads the picture from a file.
    await visitor.context.grantPermissions(['clipboard-read', 'clipboard-write'])
    await visitor.button('Copy as curl').click()
    await visitor.sees(visitor.page.locator('#toast'), /reads its picture from a file/)
    const command = await visitor.page.evaluate(() => navigator.clipboard.readText())
    const folder = mkdtempSync(join(tmpdir(), 'easel-curl-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    writeFileSync(join(folder, 'picture'), photo)
    await promisify(execFile)('sh', ['-c', command.replace('curl ', 'curl --silent --fail ')], { cwd: folder })
    expect(readFileSync(join(folder, 'a-fox-at-night-2.png')).equals(first.file)).toBe(true)
  })

  it('is refused before it is sent if it is too large or no picture, and with words if the server does', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'x', num_inference_steps: 4 })
    const error = visitor.page.locator('#image-error')
    await choose(visitor, Buffer.concat([photo, Buffer.alloc(200_000)]))
    await visitor.sees(error, /too large: the server takes at most 195 KiB/)
    await choose(visitor, Buffer.from('GIF89a'), 'a.png')
    await visitor.sees(error, /Only PNG, JPEG and WebP/)
    await choose(visitor, photo.subarray(0, 60))
    await visitor.sees(error, /damaged/)
    expect(await thumb(visitor).isVisible()).toBe(false)
    await choose(visitor, photo)
    await thumb(visitor).waitFor()
    await visitor.write({ strength: 0.1 })
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#strength-error'), /at least 0\.25: with less, none of the 4 steps/i)
  })

  it('is not offered where the model takes none', async () => {
    const plain = await startReadyServer({ WORKER_ARGS: '--image-inputs false' })
    const visitor = await enter(plain.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'x', num_inference_steps: 2 })
    await visitor.keeps(1)
    expect(await field(visitor).isVisible()).toBe(false)
    expect(await visitor.button('Vary').isVisible()).toBe(false)
    expect(await visitor.button('More like this').isVisible()).toBe(true)
    await give(visitor, 'body', 'dragover', photo)
    await visitor.page.locator('#drop').waitFor()
    expect(await visitor.page.locator('#drop-start').isVisible()).toBe(false)
  })
})

describe('a mask', () => {
  const painted = (visitor: Visitor) => visitor.button(/Paint a mask|Change mask/)
  const brush = (visitor: Visitor, pixels: number) => visitor.page.locator('#brush-size').fill(String(pixels))

  it('is painted by mouse and by keys, erased, undone, and arrives as it was painted', async () => {
    const visitor = await enter(server.url)
    const sent = await watchForms(visitor)
    await visitor.write({ prompt: 'a red boat', seed: 5, num_inference_steps: 10 })
    await choose(visitor, photo)
    await painted(visitor).click()
    await visitor.page.locator('#mask-canvas').waitFor()
    await accessible(visitor)
    const { mouse, keyboard } = visitor.page
    const place = await placeOf(visitor)
    const line = async (...points: [number, number][]) => {
      for (const [index, [x, y]] of points.entries()) {
        await mouse.move(...place(x, y), { steps: 4 })
        if (index === 0) await mouse.down()
      }
      await mouse.up()
    }
    await brush(visitor, 8)
    await line([10, 10], [50, 10])
    await line([10, 40], [50, 40])
    await keyboard.press('Control+z')
    await visitor.button('Erase').click()
    await line([30, 4], [30, 16])
    await visitor.button('Erase').click()
    // The brush of the keys begins in the middle; four steps are its diameter.
    await visitor.page.locator('#mask-canvas').focus()
    for (let step = 0; step < 8; step++) await keyboard.press('Shift+ArrowDown')
    await keyboard.press('Escape')
    await visitor.page.locator('#mask-dialog').waitFor({ state: 'hidden' })
    expect(await visitor.page.evaluate(() => document.activeElement?.id)).toBe('mask_image')
    expect(await visitor.page.locator('#strength').inputValue()).toBe('1')
    await visitor.page.locator('#start-mask').waitFor()
    await accessible(visitor)

    const { recipe, pixels: found, file } = await made(visitor)
    const bytes = await sent()
    expect(recipe).toMatchObject({ mask_image_sha256: sha256(bytes), strength: 1 })
    const { pixels: mask, white } = await maskPixels(bytes)
    const places: [x: number, y: number, is: boolean][] = [
      [10, 10, true],
      [20, 7, true],
      [48, 12, true],
      [20, 16, false],
      [30, 10, false],
      [12, 40, false],
      [32, 40, true],
      [32, 47, true],
      [32, 55, false],
      [2, 60, false]
    ]
    expect(places.filter(([x, y, is]) => white(x, y) !== is)).toEqual([])
    const frames: Frames = [
      { role: 'image', pixels },
      { role: 'mask', pixels: mask }
    ]
    expect(found.equals(recipePicture(recipe, '', frames))).toBe(true)

    // Painted on, it keeps what it has; only the masked part is painted if so chosen.
    await painted(visitor).click()
    await visitor.page.locator('#mask-canvas').waitFor()
    await brush(visitor, 8)
    await line([8, 56], [12, 56])
    await visitor.button('Done').click()
    await visitor.page.getByLabel('Paint only the masked part').check()
    expect(await visitor.page.locator('#padding_mask_crop').inputValue()).toBe('32')
    await visitor.write({ padding_mask_crop: 4 })
    await accessible(visitor)
    const part = await made(visitor)
    expect(part.recipe).toMatchObject({ padding_mask_crop: 4 })
    const second = await maskPixels(await sent())
    expect([...places, [10, 56, true] as const].filter(([x, y, is]) => second.white(x, y) !== is)).toEqual([])
    for (let at = 0; at < SIZE.width * SIZE.height; at++)
      if (second.pixels[at] === 0 && !nearWhite(second.pixels, at))
        expect(part.pixels.subarray(3 * at, 3 * at + 3).equals(pixels.subarray(3 * at, 3 * at + 3))).toBe(true)

    // The settings come back with the mask while the page is open, and ask for it later.
    await visitor.sketches.last().click()
    await visitor.button('Use these settings').click()
    await visitor.page.locator('#padding-field').waitFor({ state: 'hidden' })
    expect((await made(visitor)).file.equals(file)).toBe(true)
    await visitor.open()
    await visitor.ready()
    await visitor.sketches.first().click()
    await visitor.button('Use these settings').click()
    await visitor.sees(visitor.page.locator('#toast'), /except its picture, its mask/)
    await choose(visitor, photo)
    await visitor.sees(field(visitor), /made with a mask that is not here/)
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#mask_image-error'), /Paint the mask, or go on without it/)
    await visitor.button('Go on without it').click()
    expect((await made(visitor)).recipe).not.toHaveProperty('mask_image_sha256')
  })

  it('is painted by touch on a phone, and cleared', async () => {
    const visitor = await enter(server.url, {
      viewport: { width: 390, height: 844 },
      isMobile: true,
      hasTouch: true,
      deviceScaleFactor: 2
    })
    const sent = await watchForms(visitor)
    await visitor.write({ prompt: 'a red boat', num_inference_steps: 10 })
    await choose(visitor, photo)
    await painted(visitor).click()
    await visitor.page.locator('#mask-canvas').waitFor()
    await accessible(visitor)
    await brush(visitor, 10)
    const place = await placeOf(visitor)
    await swipe(visitor, [place(32, 50), place(40, 50)])
    await visitor.button('Clear').click()
    await swipe(visitor, [place(10, 10), place(10, 30), place(40, 30)])
    await visitor.button('Done').click()
    await visitor.page.locator('#start-mask').waitFor()
    await made(visitor)
    const { white } = await maskPixels(await sent())
    expect([white(10, 12), white(12, 28), white(38, 32), white(30, 12), white(36, 50)]).toEqual([
      true,
      true,
      true,
      false,
      false
    ])
    await painted(visitor).click()
    await visitor.button('Clear').click()
    await visitor.button('Done').click()
    await visitor.page.locator('#start-mask').waitFor({ state: 'hidden' })
    expect((await made(visitor)).recipe).not.toHaveProperty('mask_image_sha256')
  })
})

it('a picture is placed in a frame by dragging and by keys, and what is empty is the mask', async () => {
  const frame = { width: 96, height: 64 }
  const visitor = await enter(server.url)
  const sent = await watchForms(visitor)
  await visitor.write({ prompt: 'a wider view', seed: 7, num_inference_steps: 10 })
  await choose(visitor, photo)
  await thumb(visitor).waitFor()
  await visitor.page.locator('.chip', { hasText: '96×64' }).click()
  await visitor.button('Extend').click()
  const says = visitor.page.locator('#extend-says')
  // As large as is possible, in the middle.
  await visitor.sees(says, /64×64 of 96×64, 16 from the left, 0 from the top/)
  await accessible(visitor)
  const { mouse, keyboard } = visitor.page
  const place = await placeOf(visitor, '#extend-board', frame)
  const drag = async (...points: [number, number][]) => {
    for (const [index, [x, y]] of points.entries()) {
      await mouse.move(...place(x, y))
      if (index === 0) await mouse.down()
    }
    await mouse.up()
  }
  await drag([40, 30], [20, 40], [-20, 30])
  await visitor.sees(says, /64×64 of 96×64, 0 from the left/)
  // By its corner: half the size, while the other corner stays.
  await drag([62, 62], [50, 50], [32, 32])
  await visitor.sees(says, /32×32 of 96×64, 0 from the left, 0 from the top/)
  await drag([10, 10], [30, 20])
  await visitor.sees(says, /32×32 of 96×64, 20 from the left, 10 from the top/)
  await keyboard.press('ArrowRight')
  await keyboard.press('Shift+ArrowDown')
  await visitor.sees(says, /32×32 of 96×64, 23 from the left, 11 from the top/)
  await keyboard.press('+')
  await keyboard.press('-')
  await visitor.sees(says, /32×32 of 96×64, 23 from the left, 11 from the top/)
  await visitor.button('Place it').click()
  await visitor.sees(field(visitor), /96×64/)
  expect(await visitor.page.locator('#strength').inputValue()).toBe('1')

  const { recipe, pixels: found } = await made(visitor)
  const [image, maskBytes] = [await sent('image'), await sent()]
  expect(recipe).toMatchObject({ image_sha256: sha256(image), mask_image_sha256: sha256(maskBytes), ...frame })
  const { pixels: mask } = await maskPixels(maskBytes, frame)
  const inside = (x: number, y: number) => x >= 23 && x < 55 && y >= 11 && y < 43
  expect(mask.equals(rawPixels(frame, 1, (x, y) => (inside(x, y) ? 0 : 255)))).toBe(true)
  const whole = await sharp(image).removeAlpha().raw().toBuffer()
  const frames: Frames = [
    { role: 'image', pixels: whole },
    { role: 'mask', pixels: mask }
  ]
  expect(found.equals(recipePicture(recipe, '', frames))).toBe(true)
  // The picture is there at half its size: its colours, give or take the filter.
  const small = await sharp(photo).resize(32, 32).removeAlpha().raw().toBuffer()
  const [x, y] = [8, 8]
  for (let channel = 0; channel < 3; channel++)
    expect(Math.abs(whole[((y + 11) * 96 + x + 23) * 3 + channel]! - small[(y * 32 + x) * 3 + channel]!)).toBeLessThan(
      12
    )

  // Opened again, it places the same picture from where it was; Cancel leaves all as it is.
  await visitor.button('Extend').click()
  await visitor.sees(says, /32×32 of 96×64, 23 from the left, 11 from the top/)
  await visitor.button('Cancel', true).click()
  await visitor.page.locator('#extend-dialog').waitFor({ state: 'hidden' })
  expect((await made(visitor)).recipe).toEqual(recipe)
})

/** Whether a pixel is beside a white one, where a mask's edge is grey. */
function nearWhite(mask: Buffer, at: number): boolean {
  const { width } = SIZE
  return [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1].some((by) => mask[at + by] === 255)
}
