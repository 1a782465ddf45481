import { once } from 'node:events'
import { connect } from 'node:net'
import sharp from 'sharp'
import { afterAll, describe, expect, it } from 'vitest'
import type { Recipe } from '../../src/image/recipe.js'
import { recipePicture } from '../support/recipe-picture.js'
import {
  generate,
  idle,
  metric,
  running,
  type RunningServer,
  shareServer,
  startReadyServer,
  startServer
} from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

async function imageOf(response: Response): Promise<{ pixels: Buffer; recipe: Recipe; png: Buffer }> {
  expect(response.status, await response.clone().text()).toBe(200)
  const png = Buffer.from(await response.arrayBuffer())
  const pixels = await sharp(png).removeAlpha().raw().toBuffer()
  return { png, pixels, recipe: JSON.parse(response.headers.get('easel-recipe')!) as Recipe }
}

describe('POST /generate', () => {
  it('makes the image that the request describes, and returns its recipe', async () => {
    const server = await startReadyServer()
    const body = {
      prompt: 'a lighthouse',
      negative_prompt: 'fog',
      seed: 4_294_967_295,
      num_inference_steps: 3,
      guidance_scale: 2.5,
      width: 32,
      height: 48,
      scheduler: 'ddim'
    }
    const response = await generate(server, body, { headers: { 'x-request-id': 'my-id-1' } })
    const { pixels, recipe, png } = await imageOf(response)
    expect(recipe).toMatchObject(body)
    expect(pixels.equals(recipePicture(recipe))).toBe(true)
    expect(response.headers.get('content-type')).toBe('image/png')
    expect(response.headers.get('x-request-id')).toBe('my-id-1')
    expect(response.headers.get('easel-seed')).toBe('4294967295')
    expect(response.headers.get('server-timing')).toMatch(
      /^queue;dur=[\d.]+, encode;dur=[\d.]+, denoise;dur=[\d.]+, decode;dur=[\d.]+, file;dur=[\d.]+, total;dur=[\d.]+$/
    )
    const { comments } = await sharp(png).metadata()
    expect(JSON.parse(comments!.find(({ keyword }) => keyword === 'easel')!.text)).toEqual(recipe)
    expect(comments!.find(({ keyword }) => keyword === 'parameters')!.text).toBe(
      `a lighthouse\nNegative prompt: fog\nSteps: 3, Sampler: DDIM, CFG scale: 2.5, Seed: 4294967295, Size: 32x48, Model hash: ${recipe.model_digest.slice(0, 10)}, Model: fake, Version: easel ${recipe.version}`
    )
  })

  it("accepts a prompt alone: uses the model's defaults and a new seed each time", async () => {
    const server = await startReadyServer()
    const images = await Promise.all([1, 2, 3].map(async () => imageOf(await generate(server, { prompt: 'a fox' }))))
    for (const { pixels, recipe } of images) {
      expect(recipe).toMatchObject({
        negative_prompt: '',
        num_inference_steps: 20,
        guidance_scale: 5,
        width: 64,
        height: 64,
        scheduler: 'euler'
      })
      expect(pixels.equals(recipePicture(recipe))).toBe(true)
    }
    expect(new Set(images.map(({ recipe }) => recipe.seed)).size).toBe(3)
  })

  it("prefers the operator's defaults to the model's", async () => {
    const server = await startReadyServer({
      DEFAULT_STEPS: '2',
      DEFAULT_GUIDANCE_SCALE: '1',
      DEFAULT_WIDTH: '32',
      DEFAULT_HEIGHT: '48',
      DEFAULT_SCHEDULER: 'ddim',
      DEFAULT_NEGATIVE_PROMPT: 'blur'
    })
    const { recipe, pixels } = await imageOf(await generate(server, { prompt: 'a fox' }))
    expect(recipe).toMatchObject({
      negative_prompt: 'blur',
      num_inference_steps: 2,
      guidance_scale: 1,
      width: 32,
      height: 48,
      scheduler: 'ddim'
    })
    expect(pixels.equals(recipePicture(recipe))).toBe(true)
  })

  it("guides only an interval of the steps: the request's, else the operator's", async () => {
    const server = await startReadyServer({ DEFAULT_GUIDANCE_END: '0.8' })
    const asked = await imageOf(await generate(server, { prompt: 'a fox', guidance_start: 0.2, guidance_end: 1 }))
    expect(asked.recipe).toMatchObject({ guidance_start: 0.2, guidance_end: 1 })
    expect(asked.pixels.equals(recipePicture(asked.recipe))).toBe(true)
    const operators = await imageOf(await generate(server, { prompt: 'a fox' }))
    expect(operators.recipe).toMatchObject({ guidance_end: 0.8 })
    expect(operators.recipe).not.toHaveProperty('guidance_start')
    expect(operators.pixels.equals(recipePicture(operators.recipe))).toBe(true)
    const health = (await (await fetch(`${server.url}/health`)).json()) as object
    expect(health).toMatchObject({
      features: expect.arrayContaining(['guidance_interval']),
      defaults: { guidance_start: 0, guidance_end: 0.8 }
    })
  })

  it('runs the full model only every cache_interval steps, within the limit of the workers', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--max-cache-interval 4', DEFAULT_CACHE_INTERVAL: '2' })
    const asked = await imageOf(await generate(server, { prompt: 'a fox', cache_interval: 3 }))
    expect(asked.recipe).toMatchObject({ cache_interval: 3 })
    expect(asked.pixels.equals(recipePicture(asked.recipe))).toBe(true)
    const forecast = await imageOf(await generate(server, { prompt: 'a fox', cache_order: 1, seed: asked.recipe.seed }))
    expect(forecast.recipe).toMatchObject({ cache_order: 1 })
    expect(forecast.pixels.equals(recipePicture(forecast.recipe))).toBe(true)
    const operators = await imageOf(await generate(server, { prompt: 'a fox' }))
    expect(operators.recipe).toMatchObject({ cache_interval: 2 })
    expect(operators.recipe).not.toHaveProperty('cache_order')
    expect(operators.pixels.equals(recipePicture(operators.recipe))).toBe(true)
    expect(await (await generate(server, { prompt: 'a fox', cache_interval: 5 })).json()).toMatchObject({
      statusCode: 400,
      code: 'LIMIT_EXCEEDED',
      field: 'cache_interval'
    })
    const health = (await (await fetch(`${server.url}/health`)).json()) as object
    expect(health).toMatchObject({ defaults: { cache_interval: 2 }, limits: { cache_interval: 4 } })
  })

  it('gives the same bytes for the same request and seed', async () => {
    const server = await startReadyServer()
    const body = { prompt: 'twice the same', seed: 7 }
    const [one, two] = await Promise.all(
      [generate(server, body), generate(server, body)].map(async (response) => (await imageOf(await response)).png)
    )
    expect(one!.equals(two!)).toBe(true)
  })

  it('gives each of many concurrent clients its own image', async () => {
    const server = await startReadyServer()
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const { pixels, recipe } = await imageOf(
          await generate(server, {
            prompt: `client ${index}`,
            num_inference_steps: 1 + (index % 7),
            guidance_scale: index % 3
          })
        )
        expect(recipe.prompt).toBe(`client ${index}`)
        expect(pixels.equals(recipePicture(recipe))).toBe(true)
      })
    )
    await expectLaw(server, { accepted: 40, succeeded: 40 })
  })

  it('cuts a long prompt only with `truncate`, and reports the cut', async () => {
    const server = await startReadyServer()
    const prompt = `${'red '.repeat(75)}green blue`
    const refused = await generate(server, { prompt })
    expect(refused.status).toBe(400)
    expect(await refused.json()).toMatchObject({
      code: 'PROMPT_TOO_LONG',
      field: 'prompt',
      message: expect.stringMatching(/79 tokens.*before "\s?green blue"/)
    })
    const response = await generate(server, { prompt, truncate: true })
    const { pixels, recipe } = await imageOf(response)
    expect(response.headers.get('easel-truncated')).toBe('prompt')
    expect(pixels.equals(recipePicture(recipe))).toBe(true)
    expect(pixels.equals(recipePicture({ ...recipe, prompt: 'red '.repeat(75) }))).toBe(true)
  })

  it('answers 503 with Retry-After until a worker is ready', async () => {
    const server = await startServer({ WORKER: 'connect' })
    const response = await generate(server, { prompt: 'too early' })
    expect(response.status).toBe(503)
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await response.json()).toMatchObject({ code: 'NOT_READY' })
    startWorker(server.endpoint, 'late')
    await server.pool.firstReady
    await imageOf(await generate(server, { prompt: 'now' }))
  })

  it('answers 429 with Retry-After when the queue is full, and recovers', async () => {
    const server = await startReadyServer({ QUEUE_LIMIT: '3', WORKER_ARGS: '--fake-step-ms 30' })
    const body = { prompt: 'x', num_inference_steps: 20 }
    const running = [1, 2, 3].map(() => generate(server, body))
    await until('three requests are accepted', () => server.service.ledger.accepted === 3)
    const refused = await generate(server, body)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    for (const response of running) await imageOf(await response)
    await imageOf(await generate(server, body))
    await expectLaw(server, { accepted: 4, succeeded: 4 })
  })

  it('answers 504 when a request exceeds its timeout, and frees its rows', async () => {
    const server = await startReadyServer({ REQUEST_TIMEOUT: '0.3', WORKER_ARGS: '--fake-step-ms 20' })
    const response = await generate(server, { prompt: 'slow', num_inference_steps: 1000 })
    expect(response.status).toBe(504)
    expect(await response.json()).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    await idle(server)
    await expectLaw(server, { accepted: 1, expired: 1 })
  })

  it('stops the work when the client disconnects', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const controller = new AbortController()
    const request = generate(server, { prompt: 'x', num_inference_steps: 1000 }, { signal: controller.signal })
    await running(server)
    controller.abort()
    await expect(request).rejects.toThrow()
    await idle(server)
    await expectLaw(server, { accepted: 1, cancelled: 1 })
  })

  it('stops the work when the connection is reset', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    await once(socket, 'connect')
    const body = JSON.stringify({ prompt: 'x', num_inference_steps: 1000 })
    socket.write(
      `POST /generate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
    )
    await until('the request is accepted', () => server.service.ledger.accepted === 1)
    socket.resetAndDestroy()
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === 1)
  })

  it('distinguishes worker errors from client errors', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:1@2,oom:2@1,invalid:3@encode' })
    const answer = async (seed: number) => (await generate(server, { prompt: 'x', seed })).json()
    expect(await answer(1)).toMatchObject({ statusCode: 500, code: 'GENERATION_FAILED' })
    expect(await answer(2)).toMatchObject({ statusCode: 500, code: 'OUT_OF_MEMORY' })
    expect(await answer(3)).toMatchObject({ statusCode: 400, code: 'INVALID_REQUEST' })
    await imageOf(await generate(server, { prompt: 'x', seed: 4 }))
    expect(await metric(server, 'easel_worker_restarts_total')).toBe(0)
    await expectLaw(server, { accepted: 4, succeeded: 1, failed: 3 })
  })
})

describe('a bad request', () => {
  let server: RunningServer

  shareServer((ready) => (server = ready))
  afterAll(() => expectLaw(server, { accepted: 0 }))

  it.each([
    ['no prompt', {}, 'INVALID_REQUEST', 'prompt'],
    ['an empty prompt', { prompt: '' }, 'INVALID_REQUEST', 'prompt'],
    ['a wrong type', { prompt: 'x', seed: '7' }, 'INVALID_REQUEST', 'seed'],
    ['a seed out of range', { prompt: 'x', seed: 4_294_967_296 }, 'INVALID_REQUEST', 'seed'],
    ['a fraction of a step', { prompt: 'x', num_inference_steps: 1.5 }, 'INVALID_REQUEST', 'num_inference_steps'],
    ['an unknown field', { prompt: 'x', promt: 'y' }, 'INVALID_REQUEST', 'promt'],
    ['a size that is not compiled', { prompt: 'x', width: 64, height: 48 }, 'UNSUPPORTED_SIZE', 'height'],
    ['an unknown scheduler', { prompt: 'x', scheduler: 'magic' }, 'UNSUPPORTED_SCHEDULER', 'scheduler'],
    ['too much guidance', { prompt: 'x', guidance_scale: 51 }, 'LIMIT_EXCEEDED', 'guidance_scale'],
    ['a cache interval of 0', { prompt: 'x', cache_interval: 0 }, 'INVALID_REQUEST', 'cache_interval'],
    [
      'a cache interval that no worker has compiled',
      { prompt: 'x', cache_interval: 2 },
      'UNSUPPORTED_FEATURE',
      'cache_interval'
    ],
    ['a cache order of 2', { prompt: 'x', cache_order: 2 }, 'INVALID_REQUEST', 'cache_order'],
    ['guidance_end above 1', { prompt: 'x', guidance_end: 1.5 }, 'INVALID_REQUEST', 'guidance_end'],
    [
      'guidance that ends before it starts',
      { prompt: 'x', guidance_start: 0.5, guidance_end: 0.4 },
      'INVALID_REQUEST',
      'guidance_end'
    ],
    ['guidance_start above 1', { prompt: 'x', guidance_start: 1.1 }, 'INVALID_REQUEST', 'guidance_start'],
    [
      'a long negative prompt',
      { prompt: 'x', negative_prompt: 'red '.repeat(80) },
      'PROMPT_TOO_LONG',
      'negative_prompt'
    ]
  ])('with %s is refused with a code and the field', async (_what, body, code, field) => {
    const response = await generate(server, body)
    expect(await response.json()).toMatchObject({
      statusCode: 400,
      code,
      field,
      error: 'Bad Request',
      requestId: response.headers.get('x-request-id')
    })
  })

  it.each([
    ['broken JSON', '{"prompt":', 'application/json', 400, 'INVALID_REQUEST'],
    ['an empty body', '', 'application/json', 400, 'INVALID_REQUEST'],
    ['another media type', 'prompt=x', 'application/x-www-form-urlencoded', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['a giant body', `{"prompt":"${'x'.repeat(530_000)}"}`, 'application/json', 413, 'BODY_TOO_LARGE']
  ])('with %s is refused', async (_what, body, type, status, code) => {
    const response = await fetch(`${server.url}/generate`, { method: 'POST', headers: { 'content-type': type }, body })
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ code })
  })
})

/** Checks on /metrics how requests ended, and that accepted requests equal ended ones plus those in flight. */
async function expectLaw(
  server: RunningServer,
  expected: { accepted: number; succeeded?: number; failed?: number; cancelled?: number; expired?: number }
): Promise<void> {
  await until('no request is in flight', () => server.service.ledger.inFlight === 0)
  const { accepted, ...outcomes } = { succeeded: 0, failed: 0, cancelled: 0, expired: 0, ...expected }
  expect(await metric(server, 'easel_requests_accepted_total')).toBe(accepted)
  expect(await metric(server, 'easel_requests_in_flight')).toBe(0)
  for (const [outcome, count] of Object.entries(outcomes)) {
    expect(await metric(server, 'easel_requests_total', `outcome="${outcome}"`), outcome).toBe(count)
  }
}
