import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { parametersText } from '../../src/image/parameters.js'
import type { GenerateResponse } from '../../src/schemas/answer.js'
import type { GenerateRequest } from '../../src/schemas/generate.js'
import { NEUTRAL } from '../../src/parameters.js'
import { tokenizePrompts } from '../../src/service/prompt-job.js'
import { SdxlTokenizers } from '../../src/tokenizer/index.js'
import { fakePicture } from '../support/fake-image.js'
import { generate, type RunningServer, shareServer, startServer } from '../support/server.js'
import { modelFolder } from '../tokenizer/support.js'

const tokenizers = await SdxlTokenizers.fromModelFolder(modelFolder)
let server: RunningServer
shareServer((started) => (server = started))

const body = { negative_prompt: 'fog', seed: 7, num_inference_steps: 2, guidance_scale: 4, width: 64, height: 64 }
const LONG = `${'a red fox on a hill, '.repeat(20)}(at dusk:1.2)`

/** The picture that the fake engine makes of a request. */
function expected(request: GenerateRequest): Buffer {
  const fields = { ...NEUTRAL, guidance_scale: 4, num_inference_steps: 2, negative_prompt: '', ...request }
  const { job } = tokenizePrompts(fields, tokenizers, server.pool.models[0]!.capabilities!, false)
  return fakePicture({
    ...job,
    seed: request.seed!,
    steps: request.num_inference_steps!,
    guidance: request.guidance_scale!,
    scheduler: 'euler',
    width: request.width!,
    height: request.height!,
    ...(request.clip_skip === undefined ? {} : { clip_skip: request.clip_skip })
  })
}

describe('POST /generate', () => {
  it.each([
    ['weights', { prompt: 'a (red:1.3) [fox]', prompt_syntax: 'a1111' }],
    ['a long prompt', { prompt: LONG, prompt_syntax: 'a1111' }],
    ['weights of compel', { prompt: 'a (red)1.3 fox-- (hill)0.5', prompt_syntax: 'compel' }],
    ['two prompts', { prompt: 'a fox', prompt_2: 'oil, painting: thick', negative_prompt_2: 'a photo' }],
    ['clip_skip', { prompt: 'a fox', clip_skip: 1 }],
    ['an empty negative prompt as text', { prompt: 'a fox', negative_prompt: '', force_zeros_for_empty_prompt: false }]
  ] as const)('sends %s to the worker, and the recipe gives the same file', async (_what, fields) => {
    const request = { ...body, ...fields }
    const response = await generate(server, request)
    expect(response.status, await response.clone().text()).toBe(200)
    const file = Buffer.from(await response.arrayBuffer())
    const pixels = await sharp(file).removeAlpha().raw().toBuffer()
    expect(pixels.equals(expected(request))).toBe(true)
    const recipe = JSON.parse(response.headers.get('easel-recipe')!) as Recipe
    expect(recipe).toMatchObject(request)
    const read = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: file
    })
    const { request: again } = (await read.json()) as { request: GenerateRequest }
    expect(Buffer.from(await (await generate(server, again)).arrayBuffer()).equals(file)).toBe(true)
  })

  it('says how long the prompts are, and what is probably not meant so', async () => {
    const request = { ...body, prompt: 'a (rød:1.3) fox' }
    const image = await generate(server, request)
    expect(image.headers.get('easel-tokens')).toBe('prompt=11, negative_prompt=1')
    expect(image.headers.get('easel-chunks')).toBe('1')
    expect(image.headers.get('easel-warning')).toBe(
      String.raw`prompt has (r\u00f8d:1.3), which is painted as text: send "prompt_syntax": "a1111" or "compel" to have it read`
    )
    const json = await generate(server, request, { headers: { accept: 'application/json' } })
    const { usage, warnings } = (await json.json()) as GenerateResponse
    expect(usage).toMatchObject({ chunks: 1, tokens: { prompt: 11, negative_prompt: 1 } })
    expect(warnings).toEqual([expect.stringContaining('prompt has (rød:1.3)')])
    const read = await generate(server, { ...request, prompt_syntax: 'a1111' })
    expect(read.headers.get('easel-warning')).toBeNull()
    expect(read.headers.get('easel-tokens')).toBe('prompt=5, negative_prompt=1')
  })

  it('refuses a clip_skip beyond the layers of the text encoders', async () => {
    const response = await generate(server, { ...body, prompt: 'a fox', clip_skip: 12 })
    expect(response.status).toBe(400)
    const { clip_skip } = server.service.offer!.limits
    expect(await response.json()).toMatchObject({
      code: 'LIMIT_EXCEEDED',
      message: `clip_skip must be at most ${clip_skip}`
    })
  })
})

it("the operator's syntax applies to requests without one, also in /v1 and /tokenize, and to the recipe", async () => {
  const server = await startServer({ DEFAULT_PROMPT_SYNTAX: 'a1111' })
  await server.pool.firstReady
  const recipeOf = async (fields: object, path = '/generate') => {
    const response = await fetch(`${server.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'a (red:1.3) fox', ...fields })
    })
    expect(response.status, await response.clone().text()).toBe(200)
    return JSON.parse(response.headers.get('easel-recipe')!) as Recipe
  }
  expect(await recipeOf({})).toMatchObject({ prompt_syntax: 'a1111' })
  expect(await recipeOf({}, '/v1/images/generations')).toMatchObject({ prompt_syntax: 'a1111' })
  // Stated, because the operator's default is another.
  expect(await recipeOf({ prompt_syntax: 'plain' })).toMatchObject({ prompt_syntax: 'plain' })
  const counted = await tokenize(server, { prompt: 'a (red:1.3) fox' })
  expect(await counted.json()).toMatchObject({ prompt: { tokens: 3 }, warnings: [] })
})

function tokenize(at: RunningServer, request: object): Promise<Response> {
  return fetch(`${at.url}/tokenize`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request)
  })
}

describe('POST /tokenize', () => {
  it('counts each prompt that is sent', async () => {
    const response = await tokenize(server, { prompt: 'a fox', negative_prompt: '', prompt_2: 'oil' })
    expect(await response.json()).toEqual({
      prompt: { tokens: 2, chunks: 1, max_tokens: 75, chunk_starts: [0], cut_at: null },
      prompt_2: { tokens: 1, chunks: 1, max_tokens: 75, chunk_starts: [0], cut_at: null },
      negative_prompt: { tokens: 0, chunks: 1, max_tokens: 75, chunk_starts: [], cut_at: null },
      warnings: []
    })
    expect(await (await tokenize(server, {})).json()).toEqual({ warnings: [] })
  })

  it('says where each chunk begins and where the text would be cut', async () => {
    const prompt = 'fox '.repeat(400)
    const plain = await tokenize(server, { prompt })
    expect(await plain.json()).toMatchObject({ prompt: { tokens: 400, chunks: 6, max_tokens: 75, cut_at: 300 } })
    const long = await tokenize(server, { prompt, prompt_syntax: 'a1111' })
    const starts = [0, 300, 600, 900, 1200, 1500]
    expect(await long.json()).toMatchObject({ prompt: { max_tokens: 300, chunk_starts: starts, cut_at: 1200 } })
  })

  it('refuses what the syntax refuses, unknown fields and texts that are too long', async () => {
    const refused = async (request: object) => (await (await tokenize(server, request)).json()) as object
    expect(await refused({ prompt: '[a|b]', prompt_syntax: 'a1111' })).toMatchObject({
      code: 'INVALID_REQUEST',
      field: 'prompt',
      statusCode: 400
    })
    expect(await refused({ prompt: 'a', seed: 1 })).toMatchObject({ code: 'INVALID_REQUEST', field: 'seed' })
    expect(await refused({ prompt: 'a'.repeat(32_001) })).toMatchObject({ code: 'INVALID_REQUEST', field: 'prompt' })
  })

  it('needs no worker', async () => {
    const alone = await startServer({ WORKER: 'connect' })
    const response = await tokenize(alone, { prompt: 'a fox', prompt_syntax: 'a1111' })
    expect(await response.json()).toMatchObject({ prompt: { tokens: 2, max_tokens: 75 } })
  })
})

it('the settings in a file name the syntax, the second prompts and the layer as the web UI counts it', () => {
  const recipe: Recipe = {
    prompt: 'a (red:1.3) fox',
    prompt_2: 'oil, thick',
    negative_prompt: '',
    prompt_syntax: 'a1111',
    clip_skip: 1,
    seed: 5,
    num_inference_steps: 20,
    guidance_scale: 7,
    scheduler: 'euler',
    width: 64,
    height: 32,
    output_format: 'png',
    model: 'm',
    model_digest: '0123456789abcdef',
    version: '1'
  }
  expect(parametersText(recipe)).toBe(
    'a (red:1.3) fox\nSteps: 20, Sampler: Euler, CFG scale: 7, Clip skip: 3, Prompt 2: "oil, thick", Prompt syntax: a1111, Seed: 5, Size: 64x32, Model hash: 0123456789, Model: m, Version: easel 1'
  )
})
