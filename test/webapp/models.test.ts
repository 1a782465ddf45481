import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { HealthResponse } from '../../src/schemas/health.js'
import { generate, type RunningServer, startReadyServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()

async function startTwoModels(): Promise<RunningServer> {
  const home = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(home, { recursive: true }))
  const { path } = loadOptions([], {}).models[0]!
  const models = [
    { name: 'base', path, args: ['--fake-weights', 'base'] },
    { name: 'turbo', path, args: ['--fake-weights', 'turbo', '--sizes', '32x48'] }
  ]
  await writeFile(join(home, 'models.json'), JSON.stringify(models))
  const server = await startReadyServer({ MODELS: join(home, 'models.json') })
  await Promise.all(server.pool.models.map(({ firstReady }) => firstReady))
  return server
}

const picker = (visitor: Visitor) => visitor.page.getByLabel('Model', { exact: true })

describe('several models', () => {
  it('are offered with their sizes, and the chosen one makes the image, after a reload too', async () => {
    const server = await startTwoModels()
    const visitor = await enter(server.url)
    await visitor.ready()
    expect(await picker(visitor).locator('option').allTextContents()).toEqual(['base', 'turbo'])
    await visitor.sees(visitor.page.locator('#service'), /Ready · base/)
    await visitor.paint({ prompt: 'by base', seed: 1, num_inference_steps: 2 })
    await visitor.sees(visitor.page.locator('#placard-facts'), /64×64 · base/)

    await picker(visitor).selectOption('turbo')
    await visitor.sees(visitor.page.locator('#service'), /Ready · turbo/)
    expect(await visitor.page.locator('.chip').allTextContents()).toEqual(['2:3 32×48'])
    await visitor.open()
    await visitor.sees(visitor.page.locator('#service'), /Ready · turbo/)
    expect(await picker(visitor).inputValue()).toBe('turbo')
    await visitor.paint({ prompt: 'by turbo', seed: 1, num_inference_steps: 2 })
    await visitor.sees(visitor.page.locator('#placard-facts'), /32×48 · turbo/)
    const { bytes } = await visitor.download()
    const same = await generate(server, {
      prompt: 'by turbo',
      model: 'turbo',
      seed: 1,
      num_inference_steps: 2,
      width: 32,
      height: 48
    })
    expect(bytes.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
  })

  it("are chosen by an image's settings, and named in its curl command", async () => {
    const server = await startTwoModels()
    const visitor = await enter(server.url, { permissions: ['clipboard-read', 'clipboard-write'] })
    await visitor.ready()
    const image = await generate(server, { prompt: 'a file', model: 'turbo', width: 32, height: 48, seed: 5 })
    const file = { name: 'a.png', mimeType: 'image/png', buffer: Buffer.from(await image.arrayBuffer()) }
    await visitor.page.locator('#file').setInputFiles(file)
    await visitor.sees(visitor.page.locator('#service'), /Ready · turbo/)
    expect(await picker(visitor).inputValue()).toBe('turbo')
    expect(await visitor.page.locator('.chip input:checked').inputValue()).toBe('32×48')
    await visitor.button('Copy as curl').click()
    await visitor.sees(visitor.page.locator('#toast'), /Copied/)
    expect(await visitor.page.evaluate(() => navigator.clipboard.readText())).toContain('"model":"turbo"')
  })

  it("change the fields that show the other model's defaults, and no others", async () => {
    const server = await startTwoModels()
    const visitor = await enter(server.url)
    await visitor.page.route('**/health', async (route) => {
      const health = (await (await route.fetch()).json()) as HealthResponse
      const turbo = health.models.find(({ name }) => name === 'turbo')!
      Object.assign(turbo.defaults!, { num_inference_steps: 4, guidance_scale: 0, negative_prompt: 'fog' })
      await route.fulfill({ json: health })
    })
    await visitor.open()
    await visitor.ready()
    const values = () =>
      Promise.all(
        ['num_inference_steps', 'guidance_scale', 'negative_prompt'].map((name) =>
          visitor.page.locator(`#${name}`).inputValue()
        )
      )
    const base = await values()
    await picker(visitor).selectOption('turbo')
    expect(await values()).toEqual(['4', '0', 'fog'])
    await picker(visitor).selectOption('base')
    expect(await values()).toEqual(base)
    await visitor.write({ num_inference_steps: 7, negative_prompt: 'mine' })
    await picker(visitor).selectOption('turbo')
    expect(await values()).toEqual(['7', '0', 'mine'])
  })
})

it('a model that another one keeps from the device is offered with the time that loading takes', async () => {
  const server = await startTwoModels()
  const visitor = await enter(server.url)
  await visitor.page.route('**/health', async (route) => {
    const health = (await (await route.fetch()).json()) as HealthResponse
    Object.assign(health.models[1]!, { loaded: false, swap_seconds: 12.4 })
    await route.fulfill({ json: health })
  })
  await visitor.open()
  await visitor.ready()
  expect(await picker(visitor).locator('option').allTextContents()).toEqual(['base', 'turbo (loads first, 12 s)'])
})

it('one model is not offered for choice', async () => {
  const visitor = await enter((await startReadyServer()).url)
  await visitor.ready()
  expect(await picker(visitor).isVisible()).toBe(false)
  await visitor.paint({ prompt: 'the only one', num_inference_steps: 2 })
  await visitor.picture.waitFor()
})
