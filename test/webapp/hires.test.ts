import axe from 'axe-core'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { generate, type RunningServer, shareServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer

shareServer((ready) => (server = ready), { WORKER_ARGS: '--sizes 64x64,128x96,32x48' })

const LARGE = { width: 128, height: 96 }
const field = (visitor: Visitor) => visitor.page.locator('#hires-field')
const size = (visitor: Visitor) => visitor.page.locator('.chip input:checked').inputValue()
const shown = (visitor: Visitor) =>
  Promise.all(['hires', 'hires_strength', 'hires_steps'].map((name) => visitor.page.locator(`#${name}`).inputValue()))

/** Opens the page once the server makes second passes. */
async function entered(): Promise<Visitor> {
  const visitor = await enter(server.url)
  await visitor.ready()
  await field(visitor).waitFor()
  return visitor
}

async function madeBy(visitor: Visitor): Promise<Buffer> {
  const before = await visitor.sketches.count()
  await visitor.submit.click()
  await visitor.keeps(before + 1)
  await visitor.rests()
  return (await visitor.download()).bytes
}

describe('the second pass', () => {
  it('makes the image at the chosen size, and says what it runs', async () => {
    const visitor = await entered()
    expect(await visitor.page.locator('#hires-settings').isVisible()).toBe(false)
    expect(await visitor.page.locator('#hires option').allInnerTexts()).toEqual([
      'none',
      '64×64 (1:1)',
      '128×96 (4:3)',
      '32×48 (2:3)'
    ])
    await visitor.write({ prompt: 'a fox', seed: 3, num_inference_steps: 10 })
    await visitor.page.locator('#hires').selectOption('128×96')
    await visitor.sees(visitor.page.locator('#hires-note'), /last 7 of 10 steps/)
    const plain = await madeBy(visitor)
    const body = { prompt: 'a fox', negative_prompt: '', seed: 3, num_inference_steps: 10, width: 64, height: 64 }
    const same = await generate(server, { ...body, hires: LARGE })
    expect(plain.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
    await visitor.sees(visitor.page.locator('#placard-facts'), /128×96 · enlarged from 64×64/)

    await visitor.write({ hires_strength: 0.5, hires_steps: 8 })
    await visitor.sees(visitor.page.locator('#hires-note'), /last 4 of 8 steps/)
    const own = await madeBy(visitor)
    const hires = { ...LARGE, strength: 0.5, num_inference_steps: 8 }
    expect(own.equals(Buffer.from(await (await generate(server, { ...body, hires })).arrayBuffer()))).toBe(true)
  })

  it('begins from latents where the form says so, and a file restores that', async () => {
    const visitor = await entered()
    await visitor.write({ prompt: 'a fox', seed: 3, num_inference_steps: 10 })
    await visitor.page.locator('#hires').selectOption('128×96')
    await visitor.page.locator('#hires_upscaler').selectOption('latents, nearest-exact')
    const made = await madeBy(visitor)
    const body = { prompt: 'a fox', negative_prompt: '', seed: 3, num_inference_steps: 10, width: 64, height: 64 }
    const same = await generate(server, { ...body, hires: { ...LARGE, upscaler: 'latent-nearest-exact' } })
    expect(made.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
    await visitor.sees(visitor.page.locator('#placard-facts'), /enlarged from 64×64 as latent-nearest-exact/)
    await visitor.page.locator('#hires_upscaler').selectOption('')
    await visitor.button('Use these settings').click()
    expect(await visitor.page.locator('#hires_upscaler').inputValue()).toBe('latent-nearest-exact')
  })

  it('is restored from a file, from the history and after a reload', async () => {
    const hires = { ...LARGE, num_inference_steps: 8, strength: 0.5 }
    const request = { prompt: 'kept', seed: 4, num_inference_steps: 6, width: 32, height: 48, hires }
    const file = Buffer.from(await (await generate(server, request)).arrayBuffer())
    const visitor = await entered()
    await visitor.page.locator('#file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: file })
    await visitor.sees(visitor.page.locator('#toast-text'), /^Loaded the settings of this image$/)
    expect(await shown(visitor)).toEqual(['128×96', '0.5', '8'])
    expect(await size(visitor)).toBe('32×48')
    expect((await madeBy(visitor)).equals(file)).toBe(true)

    await visitor.page.locator('#hires').selectOption('')
    await visitor.button('Use these settings').click()
    expect(await shown(visitor)).toEqual(['128×96', '0.5', '8'])
    await visitor.open()
    await visitor.ready()
    await field(visitor).waitFor()
    expect(await shown(visitor)).toEqual(['128×96', '0.5', '8'])
  })

  it('is not for an image that starts from a picture: Vary starts at the size of the enlarged image', async () => {
    const visitor = await entered()
    await visitor.write({ prompt: 'a fox', num_inference_steps: 4 })
    await visitor.page.locator('#hires').selectOption('128×96')
    await madeBy(visitor)
    await visitor.button('Vary').click()
    await visitor.keeps(2)
    await visitor.rests()
    expect(await field(visitor).isVisible()).toBe(false)
    expect(await sharp((await visitor.download()).bytes).metadata()).toMatchObject(LARGE)
    expect(await visitor.page.locator('#placard-facts').innerText()).not.toContain('enlarged')
    await visitor.button('Remove the picture').click()
    expect(await field(visitor).isVisible()).toBe(true)
  })

  it('shows what is wrong with it, and can be removed where the size is not offered', async () => {
    const visitor = await entered()
    await visitor.write({ prompt: 'a fox', num_inference_steps: 10 })
    await visitor.page.locator('#hires').selectOption('128×96')
    await visitor.write({ hires_strength: 0.01 })
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#hires-error'), /strength must be at least 0.1/)
    await visitor.write({ hires_strength: 2 })
    expect(await visitor.page.locator('#hires-error').innerText()).toBe('')
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#hires_strength-error'), /from 0 to 1/)

    const health = (await (await fetch(`${server.url}/health`)).json()) as object
    await visitor.page.route('**/health*', (route) => route.fulfill({ json: { ...health, sizes: [[64, 64]] } }))
    await visitor.open()
    await visitor.ready()
    await visitor.submit.click()
    await visitor.sees(visitor.page.locator('#hires-error'), /does not offer 128×96/)
    await visitor.page.locator('#hires').selectOption('')
    await visitor.page.locator('#hires-field').waitFor({ state: 'hidden' })
  })

  it.each(['light', 'dark'] as const)('has no accessibility violation, %s', async (colorScheme) => {
    const visitor = await enter(server.url, { colorScheme, reducedMotion: 'reduce' })
    await visitor.ready()
    await field(visitor).waitFor()
    await visitor.page.locator('#hires').selectOption('128×96')
    await visitor.page.evaluate(axe.source)
    const violations = await visitor.page.evaluate(
      async () => (await (window as unknown as { axe: typeof import('axe-core') }).axe.run()).violations
    )
    expect(violations).toEqual([])
  })
})
