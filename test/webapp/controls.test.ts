import axe from 'axe-core'
import sharp from 'sharp'
import { beforeAll, describe, expect, it } from 'vitest'
import { openControlServer, painted } from '../support/controls.js'
import { blackPng, drawn } from '../support/pictures.js'
import { type RunningServer, startReadyServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer
let photo: Buffer
let painting: Buffer

beforeAll(async () => {
  photo = await drawn({ width: 120, height: 80 }).png().toBuffer()
  painting = await painted()
  const { server: opened, stop } = await openControlServer()
  server = opened
  return stop
})

const choose = (visitor: Visitor, list: string, buffer: Buffer) =>
  visitor.page.locator(`#${list}-file`).setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer })
const field = (visitor: Visitor, list: string) => visitor.page.locator(`#${list}-field`)

async function violations(visitor: Visitor): Promise<unknown[]> {
  await visitor.page.evaluate(axe.source)
  return visitor.page.evaluate(
    async () => (await (window as unknown as { axe: typeof import('axe-core') }).axe.run()).violations
  )
}

/** The same request by another client, with one control picture for each entry. */
async function made(entries: Record<'controls' | 'ip_adapters', object[]>): Promise<Buffer> {
  const form = new FormData()
  const fields = { prompt: 'a fox', seed: 4, num_inference_steps: 2, width: 64, height: 64, ...entries }
  if (entries.ip_adapters.length === 0) Reflect.deleteProperty(fields, 'ip_adapters')
  for (const [name, value] of Object.entries(fields))
    form.set(name, typeof value === 'string' ? value : JSON.stringify(value))
  for (const file of [photo, painting].slice(0, entries.controls.length))
    form.append('control_image', new Blob([new Uint8Array(file)]), 'a')
  if (entries.ip_adapters.length > 0) form.set('ip_adapter_image', new Blob([new Uint8Array(painting)]), 'b')
  const response = await fetch(`${server.url}/generate`, { method: 'POST', body: form })
  expect(response.status, await response.clone().text()).toBe(200)
  return Buffer.from(await response.arrayBuffer())
}

describe('pictures that the image follows', () => {
  it('are chosen with a net, a preprocessor and a scale, and come back with the settings of the image', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'a fox', seed: 4, num_inference_steps: 2 })
    await field(visitor, 'controls').waitFor()
    await choose(visitor, 'controls', photo)
    await choose(visitor, 'ip_adapters', painting)
    await visitor.sees(field(visitor, 'controls').locator('[data-part=facts]'), /120×80/)
    await visitor.page.getByLabel('Followed by').selectOption('depth')
    await visitor.page.getByLabel('Drawn of it first').selectOption('canny')
    await visitor.page.getByLabel('How strongly').fill('0.5')
    await visitor.page.getByLabel('How much it counts').fill('0.7')
    expect(await violations(visitor)).toEqual([])

    await visitor.submit.click()
    await visitor.picture.waitFor()
    const entries = {
      controls: [{ name: 'depth', preprocessor: 'canny', controlnet_conditioning_scale: 0.5 }],
      ip_adapters: [{ name: 'plus', scale: 0.7 }]
    }
    expect((await visitor.download()).bytes.equals(await made(entries))).toBe(true)

    await visitor.button('Remove the picture to follow').click()
    await visitor.button('Remove the picture as a prompt').click()
    expect(await field(visitor, 'controls').getByRole('group').count()).toBe(0)
    await visitor.sketches.first().click()
    await visitor.button('Use these settings').click()
    await visitor.sees(visitor.page.locator('#announce'), /Loaded the settings of this image$/)
    expect(await visitor.page.getByLabel('Followed by').inputValue()).toBe('depth')
    expect(await visitor.page.getByLabel('Drawn of it first').inputValue()).toBe('canny')
    expect(await visitor.page.getByLabel('How strongly').inputValue()).toBe('0.5')
    await visitor.submit.click()
    await visitor.keeps(2)
    expect((await visitor.download()).bytes.equals(await made(entries))).toBe(true)
  })

  it('are asked for where they are not here', async () => {
    const entries = {
      controls: [{ name: 'canny', preprocessor: 'canny', low_threshold: 5, controlnet_conditioning_scale: 0.25 }],
      ip_adapters: [{ name: 'plus' }]
    }
    const file = await made(entries)
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.locator('#file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: file })
    await visitor.sees(
      visitor.page.locator('#announce'),
      /Loaded the settings of this image, except controls, ip_adapters$/
    )
    await visitor.sees(field(visitor, 'controls').locator('[data-part=wanted]'), /a picture that is not here/)
    expect(await violations(visitor)).toEqual([])
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#controls-error'), /Choose the picture, or go on without it/)
    await choose(visitor, 'controls', photo)
    await choose(visitor, 'ip_adapters', painting)
    await visitor.submit.click()
    await visitor.keeps(1)
    // With the threshold, for which the form has no field.
    expect((await visitor.download()).bytes.equals(file)).toBe(true)
  })

  it('can be as many as the server takes, each with its own values', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'a fox', seed: 4, num_inference_steps: 2 })
    const controls = field(visitor, 'controls')
    await controls.waitFor()
    await choose(visitor, 'controls', photo)
    await visitor.button('Add a picture').waitFor()
    await choose(visitor, 'controls', painting)
    const [first, second] = ['Picture to follow 1', 'Picture to follow 2'].map((name) =>
      controls.getByRole('group', { name })
    )
    await second!.waitFor()
    // The server takes two.
    expect(await visitor.button('Add a picture').isVisible()).toBe(false)
    await first!.getByLabel('How strongly').fill('0.5')
    await second!.getByLabel('Followed by').selectOption('depth')
    await second!.getByLabel('From').fill('0.25')
    await second!.getByLabel('Until').fill('0.75')
    expect(await violations(visitor)).toEqual([])
    await visitor.submit.click()
    await visitor.picture.waitFor()
    const entries = {
      controls: [
        { name: 'canny', controlnet_conditioning_scale: 0.5 },
        { name: 'depth', control_guidance_start: 0.25, control_guidance_end: 0.75 }
      ],
      ip_adapters: []
    }
    const both = await made(entries)
    expect((await visitor.download()).bytes.equals(both)).toBe(true)

    await visitor.button('Remove picture to follow 1').click()
    await controls.getByRole('group', { name: 'Picture to follow', exact: true }).waitFor()
    await visitor.sketches.first().click()
    await visitor.button('Use these settings').click()
    await visitor.sees(visitor.page.locator('#announce'), /Loaded the settings of this image$/)
    await visitor.submit.click()
    await visitor.keeps(2)
    expect((await visitor.download()).bytes.equals(both)).toBe(true)

    // What the server says of an entry is beside the field, whose button is that of the first entry now.
    await second!.getByLabel('Until').fill('0.2')
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#controls-error'), /must be less than control_guidance_end, 0.2/)
    expect(await violations(visitor)).toEqual([])
  })

  it('show what a preprocessor draws of them, until another choice is made', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    const controls = field(visitor, 'controls')
    await controls.waitFor()
    await choose(visitor, 'controls', photo)
    const shows = visitor.button('Show what is drawn')
    expect(await shows.isVisible()).toBe(false)
    await visitor.page.getByLabel('Drawn of it first').selectOption('canny')
    await visitor.page.getByLabel('Lower threshold').fill('5')
    await shows.click()
    const drawnOf = visitor.page.getByAltText('What is drawn of it')
    await drawnOf.waitFor()
    const form = new FormData()
    form.set('image', new Blob([new Uint8Array(photo)]), 'a')
    form.set('preprocessor', 'canny')
    form.set('low_threshold', '5')
    const wanted = await fetch(`${server.url}/controls/preview`, { method: 'POST', body: form })
    const shown = await drawnOf.evaluate(async (image: HTMLImageElement) => {
      await image.decode()
      const context = Object.assign(document.createElement('canvas'), { width: 64, height: 64 }).getContext('2d')!
      context.drawImage(image, 0, 0)
      return [...context.getImageData(0, 0, 64, 64).data]
    })
    const pixels = await sharp(Buffer.from(await wanted.arrayBuffer()))
      .ensureAlpha()
      .raw()
      .toBuffer()
    expect(Buffer.from(shown).equals(pixels)).toBe(true)
    expect(new Set(pixels)).toEqual(new Set([0, 255]))
    expect(await violations(visitor)).toEqual([])
    await visitor.page.getByLabel('Lower threshold').fill('50')
    await drawnOf.waitFor({ state: 'hidden' })

    await visitor.page.route('**/controls/preview', (route) =>
      route.fulfill({ status: 429, json: { statusCode: 429, code: 'RATE_LIMITED', message: 'slow', retry_after: 3 } })
    )
    await shows.click()
    await visitor.sees(controls.locator('[data-part=drawn-problem]'), /Your key has reached its rate limit/)
  })

  it('say beside their field what is wrong', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await field(visitor, 'controls').waitFor()
    await choose(visitor, 'controls', Buffer.from('GIF89a'.padEnd(50)))
    await visitor.sees(visitor.page.locator('#controls-error'), /Only PNG, JPEG and WebP/)
    // The net goes while the page is open.
    await choose(visitor, 'controls', blackPng({ width: 40, height: 40 }))
    await visitor.page.getByLabel('Followed by').evaluate((select: HTMLSelectElement) => {
      const [option] = select.options
      option!.value = 'gone'
      select.dispatchEvent(new Event('input', { bubbles: true }))
    })
    await visitor.write({ prompt: 'a fox', num_inference_steps: 2 })
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#controls-error'), /there is no ControlNet or T2I-Adapter "gone"/i)
  })
})

it('has no fields for them where the model has no nets', async () => {
  const plain = await startReadyServer()
  const visitor = await enter(plain.url)
  await visitor.ready()
  await visitor.sees(visitor.page.locator('.chip').first(), /64/)
  for (const list of ['controls', 'ip_adapters']) expect(await field(visitor, list).isVisible()).toBe(false)
})
