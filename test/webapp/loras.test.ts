import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axe from 'axe-core'
import { expect, it, onTestFinished } from 'vitest'
import { generate, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()

async function startWithLoras(): Promise<{ server: RunningServer; folder: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-loras-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await mkdir(join(folder, 'styles'))
  await writeFile(join(folder, 'styles/ink.safetensors'), 'ink drawing\nline art')
  await writeFile(join(folder, 'cute.safetensors'), 'cute')
  return { server: await startReadyServer({ WORKER_ARGS: `--loras ${folder}` }), folder }
}

const choice = (visitor: Visitor) => visitor.page.getByLabel('LoRAs', { exact: true })
const rows = (visitor: Visitor) => visitor.page.locator('.lora')

it('offers the preset of a LoRA for few steps', async () => {
  const { server, folder } = await startWithLoras()
  await writeFile(join(folder, 'fast.safetensors'), 'preset lightning-4')
  const visitor = await enter(server.url)
  await visitor.ready()
  await until('the LoRA is offered', async () => {
    await choice(visitor).blur()
    await choice(visitor).focus()
    return (await choice(visitor).innerText()).includes('fast')
  })
  await choice(visitor).selectOption('cute')
  expect(await visitor.button(/Use preset/).count()).toBe(0)
  await choice(visitor).selectOption('fast')
  await visitor.button('Use preset lightning-4').click()
  const values = ['preset', 'num_inference_steps', 'guidance_scale', 'scheduler', 'timestep_spacing'].map((name) =>
    visitor.page.locator(`#${name}`).inputValue()
  )
  expect(await Promise.all(values)).toEqual(['lightning-4', '4', '0', 'euler', 'trailing'])
  expect(await visitor.page.locator('#preset').isVisible()).toBe(true)
})

it('adds LoRAs with weights and trigger words, also after a reload, and reuses those of an image', async () => {
  const { server, folder } = await startWithLoras()
  const visitor = await enter(server.url)
  await visitor.ready()
  await visitor.sees(choice(visitor), /styles\/ink/)
  await choice(visitor).selectOption('styles/ink')
  await choice(visitor).selectOption('cute')
  await visitor.page.getByLabel('Weight of styles/ink').fill('0.5')
  await visitor.write({ prompt: 'a fox', seed: 4, num_inference_steps: 2 })
  await visitor.button('+ line art').click()
  expect(await visitor.page.locator('#prompt').inputValue()).toBe('a fox, line art')
  await visitor.page.evaluate(axe.source)
  const violations = await visitor.page.evaluate(
    async () => (await (window as unknown as { axe: typeof import('axe-core') }).axe.run()).violations
  )
  expect(violations).toEqual([])

  await visitor.submit.click()
  await visitor.picture.waitFor()
  const loras = [{ name: 'styles/ink', weight: 0.5 }, { name: 'cute' }]
  const request = { prompt: 'a fox, line art', seed: 4, num_inference_steps: 2, width: 64, height: 64, loras }
  const same = Buffer.from(await (await generate(server, request)).arrayBuffer())
  expect((await visitor.download()).bytes.equals(same)).toBe(true)
  await visitor.page.locator('#placard details summary').click()
  await visitor.sees(visitor.page.locator('#recipe'), /styles\/ink 0\.5, cute 1/)

  await visitor.open()
  await visitor.ready()
  await visitor.sees(rows(visitor).first(), /ink/)
  expect(await visitor.page.getByLabel('Weight of styles/ink').inputValue()).toBe('0.5')
  await visitor.button('Remove styles/ink').click()
  await visitor.button('Remove cute').click()
  expect(await rows(visitor).count()).toBe(0)

  await visitor.sketches.first().click()
  await visitor.button('Use these settings').click()
  expect(await rows(visitor).count()).toBe(2)
  await visitor.sees(visitor.page.locator('#announce'), /Loaded the settings of this image$/)

  // A file that is gone is refused beside its field, and a new one is offered at once.
  await rm(join(folder, 'cute.safetensors'))
  await writeFile(join(folder, 'oil.safetensors'), 'oil')
  await until('the new file is offered', async () => {
    await choice(visitor).blur()
    await choice(visitor).focus()
    return (await choice(visitor).locator('option').allTextContents()).includes('oil')
  })
  await visitor.submit.click()
  await visitor.sees(visitor.page.locator('#loras-error'), /there is no LoRA "cute"/i)
  await visitor.button('Remove cute').click()
  await choice(visitor).selectOption('oil')
  await visitor.submit.click()
  await visitor.keeps(2)
})

it('is hidden where the model has no LoRAs', async () => {
  const server = await startReadyServer()
  const visitor = await enter(server.url)
  await visitor.ready()
  await visitor.sees(visitor.page.locator('.chip').first(), /64/)
  expect(await choice(visitor).isVisible()).toBe(false)
})
