import OpenAI from 'openai'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { generate, idle, type RunningServer, shareServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

let server: RunningServer
let client: OpenAI

shareServer(
  (ready) => {
    server = ready
    client = clientOf(ready)
  },
  { WORKER_ARGS: '--fake-step-ms 5 --fake-faults raise:13@2' }
)

function clientOf({ url }: RunningServer): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 })
}

/** SDXL's own fields, which the client sends although its types lack them. */
type Extra = {
  negative_prompt?: string
  seed?: number
  num_inference_steps?: number
  guidance_scale?: number
  scheduler?: string
}

const ask = (params: OpenAI.ImageGenerateParamsNonStreaming & Extra) => client.images.generate(params)

describe('the official OpenAI client', () => {
  it('makes images', async () => {
    const { data, created, size, output_format, usage } = await ask({
      prompt: 'a lighthouse',
      model: 'gpt-image-1',
      n: 2,
      user: 'someone',
      quality: 'high'
    })
    expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(60)
    expect({ size, output_format }).toEqual({ size: '64x64', output_format: 'png' })
    expect(usage!.input_tokens).toBe(4)
    expect(data).toHaveLength(2)
    for (const { b64_json } of data!) {
      const { format, width, height } = await sharp(Buffer.from(b64_json!, 'base64')).metadata()
      expect({ format, width, height }).toEqual({ format: 'png', width: 64, height: 64 })
    }
  })

  it('gets the same image as POST /generate with the same fields', async () => {
    const extra = {
      prompt: 'a lighthouse',
      negative_prompt: 'fog',
      seed: 7,
      num_inference_steps: 4,
      guidance_scale: 2.5,
      scheduler: 'ddim'
    }
    const { data } = await ask({
      ...extra,
      size: '32x48' as '1024x1024',
      output_format: 'webp',
      output_compression: 60
    })
    const ours = await generate(server, { ...extra, width: 32, height: 48, output_format: 'webp', quality: 60 })
    expect(data![0]!.b64_json).toBe(Buffer.from(await ours.arrayBuffer()).toString('base64'))
  })

  it('gets a data: URL when it asks for a URL', async () => {
    const { data } = await ask({ prompt: 'x', response_format: 'url', output_format: 'jpeg' })
    const image = Buffer.from(await (await fetch(data![0]!.url!)).arrayBuffer())
    expect((await sharp(image).metadata()).format).toBe('jpeg')
  })

  it('gets URLs by default for dall-e models, and the nearest size with SNAP_SIZES', async () => {
    expect((await ask({ prompt: 'x', model: 'dall-e-3' })).data![0]!.url).toMatch(/^data:image\/png;base64,/)
    const snapping = await startServer({ SNAP_SIZES: 'true' })
    await snapping.pool.firstReady
    expect((await clientOf(snapping).images.generate({ prompt: 'x', size: '1024x1792' })).size).toBe('32x48')
  })

  it('gets the offered size nearest to an aspect ratio, and 400 for a malformed one', async () => {
    expect((await ask({ prompt: 'x', size: '2:3' as 'auto' })).size).toBe('32x48')
    expect((await ask({ prompt: 'x', size: '16:15' as 'auto' })).size).toBe('64x64')
    await expect(ask({ prompt: 'x', size: '3:0' as 'auto' })).rejects.toMatchObject({ status: 400, param: 'size' })
  })

  it('streams previews and the image', async () => {
    const stream = await client.images.generate({ prompt: 'x', stream: true, partial_images: 2, n: 1 })
    const events: OpenAI.ImageGenStreamEvent[] = []
    for await (const event of stream) events.push(event)
    const partial = events.filter((event) => event.type === 'image_generation.partial_image')
    expect(partial.map(({ partial_image_index }) => partial_image_index)).toEqual([0, 1])
    for (const { b64_json, output_format } of partial)
      expect((await sharp(Buffer.from(b64_json, 'base64')).metadata()).format).toBe(output_format)
    const last = events.at(-1)!
    if (last.type !== 'image_generation.completed') throw new Error(`the last event is ${last.type}`)
    expect(events).toHaveLength(3)
    expect(last.usage.total_tokens).toBe(3)
    expect((await sharp(Buffer.from(last.b64_json, 'base64')).metadata()).width).toBe(64)
  })

  it('stops the work when it aborts a stream', async () => {
    const cancelled = server.service.ledger.ended.cancelled
    const stream = await client.images.generate({
      prompt: 'x',
      stream: true,
      partial_images: 3,
      num_inference_steps: 900
    } as OpenAI.ImageGenerateParamsStreaming)
    for await (const event of stream) if (event.type === 'image_generation.partial_image') break
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === cancelled + 1)
    await idle(server)
  })

  it('maps our errors to its own classes', async () => {
    const errorOf = (params: object) =>
      ask({ prompt: 'x', ...params }).then(
        () => undefined,
        (error: unknown) => error
      )
    expect(await errorOf({ size: '999x999' })).toBeInstanceOf(OpenAI.BadRequestError)
    expect(await errorOf({ size: '999x999' })).toMatchObject({
      status: 400,
      code: 'UNSUPPORTED_SIZE',
      param: 'size',
      type: 'invalid_request_error'
    })
    expect(await errorOf({ prompt: '' })).toMatchObject({ status: 400, code: 'INVALID_REQUEST', param: 'prompt' })
    expect(await errorOf({ n: 60 })).toMatchObject({
      status: 400,
      code: 'LIMIT_EXCEEDED',
      param: 'n',
      message: expect.stringMatching(/^400 n must be at most 16$/)
    })
    const { message } = (await errorOf({ n: 'three' })) as Error
    expect(message).toContain('n must be integer')
    expect(message).not.toContain('anyOf')
    expect(await errorOf({ seed: 13 })).toMatchObject({ status: 500, code: 'GENERATION_FAILED', type: 'server_error' })
  })

  it('reads an error in a stream', async () => {
    const stream = await client.images.generate({
      prompt: 'x',
      stream: true,
      seed: 13
    } as OpenAI.ImageGenerateParamsStreaming)
    const read = async () => {
      for await (const _event of stream);
    }
    await expect(read()).rejects.toMatchObject({ code: 'GENERATION_FAILED' })
  })

  it('gets a long prompt cut, and a header that says so', async () => {
    const { response } = await client.images.generate({ prompt: 'red '.repeat(100) }).withResponse()
    expect(response.headers.get('easel-truncated')).toBe('prompt')
  })

  it('may send null and unknown fields', async () => {
    const params = { prompt: 'x', n: null, size: null, seed: null, moderation: 'low', shoe_size: 44 }
    expect((await ask(params as unknown as OpenAI.ImageGenerateParamsNonStreaming)).data).toHaveLength(1)
  })

  it('lists the model', async () => {
    const models = await client.models.list()
    expect(models.data.map(({ id, owned_by }) => ({ id, owned_by }))).toEqual([{ id: 'fake', owned_by: 'easel' }])
    expect((await client.models.retrieve('fake')).id).toBe('fake')
    await expect(client.models.retrieve('other')).rejects.toBeInstanceOf(OpenAI.NotFoundError)
  })

  it('retries by itself until a worker is ready', async () => {
    const starting = await startServer({ WORKER_ARGS: '--fake-warm-ms 500' })
    const patient = new OpenAI({ baseURL: `${starting.url}/v1`, apiKey: 'none', maxRetries: 5 })
    expect((await patient.images.generate({ prompt: 'x' })).data).toHaveLength(1)
  })

  it('gets 404 in its own error form for an unknown route', async () => {
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{}'
    })
    expect(response.status).toBe(404)
    expect(await response.json()).toMatchObject({ error: { code: 'NOT_FOUND', type: 'invalid_request_error' } })
  })
})
