import { describe, expect, it } from 'vitest'
import type { HealthResponse } from '../../src/schemas/health.js'
import { generate, type RunningServer, shareServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer

shareServer((ready) => (server = ready))

const field = (visitor: Visitor, name: string) => visitor.page.locator(`[name=${name}]`)
const preset = (visitor: Visitor) => visitor.page.getByLabel('Preset for models of few steps')

const FIELDS = ['num_inference_steps', 'guidance_scale', 'scheduler', 'timestep_spacing', 'eta']
const shown = (visitor: Visitor) => Promise.all(FIELDS.map((name) => field(visitor, name).inputValue()))

async function entered(): Promise<Visitor> {
  const visitor = await enter(server.url)
  await visitor.ready()
  await visitor.page.getByText('Advanced').click()
  return visitor
}

/** Makes the page hear of other presets than the server's. */
async function offering(visitor: Visitor, presets: HealthResponse['presets']): Promise<void> {
  await visitor.page.route('**/health', async (route) => {
    const response = await route.fetch()
    const health = (await response.json()) as HealthResponse
    const models = health.models.map((model) => ({ ...model, presets }))
    await route.fulfill({ response, json: { ...health, presets, models } })
  })
  await visitor.open()
  await visitor.ready()
}

describe('a preset', () => {
  it('fills in what it sets, which makes its image; without it the defaults are back', async () => {
    const visitor = await entered()
    expect(await preset(visitor).locator('option').allTextContents()).toEqual(['none', 'lightning-4'])
    await field(visitor, 'eta').fill('0.5')
    await preset(visitor).selectOption('lightning-4')
    expect(await shown(visitor)).toEqual(['4', '0', 'euler', 'trailing', ''])
    await visitor.paint({ prompt: 'fast', seed: 3 })
    await visitor.sees(visitor.page.locator('#placard-facts'), /4 steps · no guidance/)
    const same = await generate(server, { prompt: 'fast', seed: 3, negative_prompt: '', preset: 'lightning-4' })
    expect((await visitor.download()).bytes.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)

    await preset(visitor).selectOption('')
    expect(await shown(visitor)).toEqual(['20', '5', '', '', ''])
  })

  it('gives way to a field that is changed after it, and is still chosen after a reload', async () => {
    const visitor = await entered()
    await preset(visitor).selectOption('lightning-4')
    await visitor.paint({ prompt: 'fast', seed: 4, num_inference_steps: 2 })
    await visitor.sees(visitor.page.locator('#placard-facts'), /2 steps/)
    await visitor.open()
    await visitor.ready()
    expect(await preset(visitor).inputValue()).toBe('lightning-4')
    expect(await field(visitor, 'num_inference_steps').inputValue()).toBe('2')
  })

  it('sends its name, for the timesteps that the form has no field for', async () => {
    const visitor = await entered()
    const timed = { name: 'timed', num_inference_steps: 2, guidance_scale: 1, scheduler: 'ddim', timesteps: [999, 9] }
    await offering(visitor, [timed])
    await visitor.page.getByText('Advanced').click()
    await preset(visitor).selectOption('timed')
    const sent = visitor.page.waitForRequest('**/generate')
    await visitor.write({ prompt: 'timed' })
    await visitor.submit.click()
    expect((await sent).postDataJSON()).toMatchObject({ preset: 'timed', num_inference_steps: 2, scheduler: 'ddim' })
    // This server has no such preset.
    await visitor.sees(visitor.page.locator('#preset-error'), /does not have this preset/)
  })

  it("leaves its spacing to the server, which drops it for samplers that take none, but not the visitor's own", async () => {
    const visitor = await entered()
    await preset(visitor).selectOption('lightning-4')
    await field(visitor, 'scheduler').selectOption('heun')
    const asked = async () => {
      const sent = visitor.page.waitForRequest('**/generate')
      await visitor.write({ prompt: 'spaced' })
      await visitor.submit.click()
      await visitor.rests()
      return (await sent).postDataJSON() as object
    }
    const body = await asked()
    expect(body).toMatchObject({ preset: 'lightning-4', scheduler: 'heun' })
    expect(body).not.toHaveProperty('timestep_spacing')
    await field(visitor, 'timestep_spacing').selectOption('linspace')
    expect(await asked()).toMatchObject({ timestep_spacing: 'linspace' })
  })

  it('is forgotten where the model does not offer it, and the choice is hidden where it offers none', async () => {
    const visitor = await entered()
    await preset(visitor).selectOption('lightning-4')
    await offering(visitor, [])
    expect(await visitor.page.locator('#preset-field').isHidden()).toBe(true)
    expect(await field(visitor, 'preset').inputValue()).toBe('')
    expect(await field(visitor, 'scheduler').inputValue()).toBe('euler')
  })
})
