import { describe, expect, it } from 'vitest'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, type RunningServer, shareServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

let server: RunningServer

shareServer((ready) => (server = ready))

/** The fake engine's. */
const values = { num_inference_steps: 4, guidance_scale: 0, scheduler: 'euler', timestep_spacing: 'trailing' }
const small = { width: 32, height: 48 }

async function made(body: object): Promise<{ recipe: Record<string, unknown>; data: string }> {
  const response = await generate(server, { ...small, ...body }, { headers: { accept: 'application/json' } })
  expect(response.status).toBe(200)
  const { images } = (await response.json()) as { images: [{ recipe: Record<string, unknown>; data: string }] }
  return images[0]
}

const json = async (path: string) => (await fetch(`${server.url}${path}`)).json() as Promise<any>

describe('preset', () => {
  it('is listed with what it sets', async () => {
    const health = await json('/health')
    const offered = [{ name: 'lightning-4', ...values }]
    expect(health.presets).toEqual(offered)
    expect(health.models[0].presets).toEqual(offered)
    const { data } = await json('/v1/models')
    expect(data).toEqual([expect.objectContaining({ id: 'fake', presets: offered, defaults: health.defaults })])
    const { schemas } = (await json('/openapi.json')).components
    expect(schemas.GenerateRequest.properties.preset.enum).toEqual(['lightning-4'])
    expect(schemas.OpenAiImagesRequest.properties.preset.enum).toEqual(['lightning-4', null])
  })

  it('is none for a worker that has none, whose family is listed', async () => {
    const own = await startServer({ WORKER: 'connect' })
    const model = startWorker(own.endpoint, 'model')
    await own.pool.firstReady
    const { presets: _, ...older } = own.pool.state.workers[0]!.hello
    const worker = new ScriptedWorker(own.endpoint, 'older', { ...older, model: { ...older.model, family: 'vega' } })
    model.kill('SIGTERM')
    await until('no other worker is registered', () => own.pool.state.workers.length === 0)
    await reconnect(own, 'older', worker, {})
    const { data } = (await (await fetch(`${own.url}/v1/models`)).json()) as { data: object[] }
    expect(data).toEqual([expect.objectContaining({ id: 'fake', family: 'vega', presets: [] })])
    const refused = await generate(own, { prompt: 'x', preset: 'lightning-4' })
    expect(await refused.json()).toMatchObject({ message: 'preset must be left out: this model has no presets' })
  })

  it('makes the image that its values make, and its recipe has the values', async () => {
    const named = await made({ prompt: 'x', seed: 7, preset: 'lightning-4' })
    const spelled = await made({ prompt: 'x', seed: 7, ...values })
    expect(named).toEqual(spelled)
    expect(named.recipe).toMatchObject(values)
    expect(named.recipe).not.toHaveProperty('preset')
    const { model: _, model_digest: __, version: ___, ...request } = named.recipe
    expect((await made(request)).data).toBe(named.data)
  })

  it('gives way to the fields that the request sets', async () => {
    const { recipe } = await made({ prompt: 'x', preset: 'lightning-4', num_inference_steps: 2 })
    expect(recipe).toMatchObject({ ...values, num_inference_steps: 2 })
  })

  it('is refused by name where the model does not offer it', async () => {
    const response = await generate(server, { prompt: 'x', preset: 'turbo' })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'UNSUPPORTED_PRESET',
      field: 'preset',
      message: 'preset must be one of lightning-4'
    })
  })

  it('is taken by /v1 too', async () => {
    const ask = (extra: object) =>
      fetch(`${server.url}/v1/images/generations`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', seed: 7, size: '32x48', ...extra })
      })
    const { data } = (await (await ask({ preset: 'lightning-4' })).json()) as { data: [{ b64_json: string }] }
    expect(data[0].b64_json).toBe((await made({ prompt: 'x', seed: 7, truncate: true, ...values })).data)
    const refused = await ask({ preset: 'none' })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({ error: { param: 'preset', code: 'UNSUPPORTED_PRESET' } })
  })
})
