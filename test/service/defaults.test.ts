import { describe, expect, it } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { Capabilities } from '../../src/workers/capabilities.js'
import { problemWithDefaults } from '../../src/service/defaults.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { modelFolder } from '../tokenizer/support.js'
import { startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
const LONG = 'blurry, '.repeat(40)

const model: Capabilities = {
  model: { id: 'm', digest: '', dtype: '' },
  sizes: [
    [1024, 1024],
    [768, 1344]
  ],
  compiling: [[512, 512]],
  features: [],
  comingFeatures: [],
  comingMaxChunks: 1,
  loras: [],
  embeddings: [],
  controls: [],
  ipAdapters: [],
  secondOrder: [],
  unspaced: [],
  presets: [],
  schedulers: ['euler', 'ddim'],
  defaults: {
    width: 1024,
    height: 1024,
    num_inference_steps: 25,
    guidance_scale: 5,
    scheduler: 'euler',
    negative_prompt: ''
  },
  limits: { max_steps: 150, max_guidance_scale: 30, max_images: 4 }
}

function problem(env: NodeJS.ProcessEnv, changes: Partial<Capabilities> = {}): string | undefined {
  return problemWithDefaults({ ...model, ...changes }, loadOptions([], env).defaults, tokenizers)
}

describe('problemWithDefaults', () => {
  it('is none of a model that needs a picture in each request', () => {
    const only = { features: ['image_to_image', 'pictures_only'] }
    expect(problem({}, only)).toBeUndefined()
    expect(problem({ DEFAULT_STEPS: '151' }, only)).toMatch('num_inference_steps must be at most 150')
  })

  it.each([
    [{ DEFAULT_SCHEDULER: 'Euler' }, 'DEFAULT_SCHEDULER="Euler": scheduler must be one of euler, ddim'],
    [
      { DEFAULT_WIDTH: '100' },
      'DEFAULT_WIDTH=100: 100x1024 is not offered; width x height must be one of 1024x1024, 768x1344'
    ],
    [
      { DEFAULT_HEIGHT: '1344' },
      'DEFAULT_HEIGHT=1344: 1024x1344 is not offered; width x height must be one of 1024x1024, 768x1344'
    ],
    [{ DEFAULT_STEPS: '151' }, 'DEFAULT_STEPS=151: num_inference_steps must be at most 150'],
    [{ DEFAULT_GUIDANCE_SCALE: '31' }, 'DEFAULT_GUIDANCE_SCALE=31: guidance_scale must be at most 30'],
    [
      { DEFAULT_CACHE_INTERVAL: '3' },
      'DEFAULT_CACHE_INTERVAL=3: cache_interval must be 1: the workers run the full UNet in every step'
    ],
    [
      { DEFAULT_GUIDANCE_START: '0.2' },
      'DEFAULT_GUIDANCE_START=0.2: guidance_start must be 0: the workers guide all steps'
    ],
    [
      { DEFAULT_PROMPT_SYNTAX: 'a1111', DEFAULT_NEGATIVE_PROMPT: 'fog, (blur:1.2)' },
      'DEFAULT_PROMPT_SYNTAX="a1111": prompt_syntax must be plain for this prompt: the workers do not apply weights'
    ],
    [
      { DEFAULT_PROMPT_SYNTAX: 'a1111', DEFAULT_NEGATIVE_PROMPT: '<lora:x:1>' },
      'DEFAULT_NEGATIVE_PROMPT="<lora:x:1>": negative_prompt has <lora:x:1>, but only the prompt can name LoRAs: move it there'
    ],
    [{ DEFAULT_GUIDANCE_END: '0.8' }, 'DEFAULT_GUIDANCE_END=0.8: guidance_end must be 1: the workers guide all steps'],
    [
      { DEFAULT_NEGATIVE_PROMPT: LONG },
      /^DEFAULT_NEGATIVE_PROMPT="blurry, .{52}…": it has 82 tokens, .*the model takes 77\. It would be cut after ".*", before ".*"\. Shorten it$/
    ]
  ])('names the setting: %j', (env, line) => {
    const said = problem(env)
    if (typeof line === 'string') expect(said).toBe(line)
    else expect(said).toMatch(line)
  })

  it.each([
    [
      { num_inference_steps: 500 },
      `"num_inference_steps": 500 in "defaults" of the model's easel.json: num_inference_steps must be at most 150`
    ],
    [
      { guidance_scale: 99 },
      `"guidance_scale": 99 in "defaults" of the model's easel.json: guidance_scale must be at most 30`
    ],
    [
      { scheduler: 'heun' },
      `"scheduler": "heun" in "defaults" of the model's easel.json: scheduler must be one of euler, ddim`
    ],
    [
      { negative_prompt: LONG },
      /^"negative_prompt": "blurry, .*…" in "defaults" of the model's easel\.json: it has 82 tokens/
    ]
  ])("names the key in the model's easel.json: %j", (defaults, line) => {
    const said = problem({}, { defaults: { ...model.defaults, ...defaults } })
    if (typeof line === 'string') expect(said).toBe(line)
    else expect(said).toMatch(line)
  })

  it('finds nothing if all defaults fit, the operator overrides a wrong one, or a size is still being compiled', () => {
    expect(problem({})).toBeUndefined()
    expect(
      problem({ DEFAULT_STEPS: '150' }, { defaults: { ...model.defaults, num_inference_steps: 500 } })
    ).toBeUndefined()
    expect(problem({ DEFAULT_WIDTH: '512', DEFAULT_HEIGHT: '512' })).toBeUndefined()
    expect(
      problem(
        { DEFAULT_CACHE_INTERVAL: '3', DEFAULT_GUIDANCE_END: '0.8' },
        { features: ['guidance_interval'], limits: { ...model.limits, max_cache_interval: 3 } }
      )
    ).toBeUndefined()
  })
})

it('a server with an unsupported default is not ready and says why, until a worker supports it', async () => {
  const server = await startServer({ DEFAULT_CACHE_INTERVAL: '3' })
  await until('a worker is connected', () => server.pool.state.workers.length === 1)
  const line = 'DEFAULT_CACHE_INTERVAL=3: cache_interval must be 1: the workers run the full UNet in every step'
  const health = await fetch(`${server.url}/health`)
  expect(health.status).toBe(503)
  expect(await health.json()).toMatchObject({ status: 'unavailable', problem: line, workers: { ready: 1 } })
  expect((await fetch(`${server.url}/health/ready`)).status).toBe(503)
  const refused = await fetch(`${server.url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"prompt":"x"}'
  })
  expect(refused.status).toBe(503)
  expect(refused.headers.get('retry-after')).not.toBeNull()
  expect(await refused.json()).toMatchObject({ code: 'NOT_READY' })
  expect(server.logs.filter(({ level, msg }) => level >= 50 && msg.includes(line))).toHaveLength(1)

  startWorker(server.endpoint, 'able', { MAX_CACHE_INTERVAL: '3' })
  await server.pool.firstReady
  const ready = await fetch(`${server.url}/health`)
  expect(ready.status).toBe(200)
  expect(await ready.json()).toMatchObject({ status: 'ready', problem: null, workers: { ready: 2 } })
  const answer = await fetch(`${server.url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"prompt":"x","width":64,"height":64}'
  })
  expect(answer.status).toBe(200)
})
