import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import type { GenerateResponse } from '../../src/schemas/answer.js'
import { generate, openServer, type RunningServer, shareServer } from '../support/server.js'

let server: RunningServer

shareServer((ready) => (server = ready))

const ask = (body: object, accept?: string) =>
  generate(server, { prompt: 'x', ...body }, accept === undefined ? {} : { headers: { accept } })

describe('the form of an answer', () => {
  it.each([
    [{}, undefined, 'image/png'],
    [{}, '*/*', 'image/png'],
    [{}, 'image/*', 'image/png'],
    [{}, 'image/webp', 'image/webp'],
    [{}, 'image/jpeg;q=0.5, image/webp;q=0.9', 'image/webp'],
    [{ output_format: 'jpeg' }, '*/*', 'image/jpeg'],
    [{ output_format: 'jpeg' }, 'application/json', 'application/json'],
    [{ num_images: 2 }, '*/*', 'application/json'],
    [{ num_images: 2 }, 'multipart/mixed', 'multipart/mixed'],
    [{}, 'text/event-stream', 'text/event-stream'],
    [{}, 'application/json; charset=utf-8', 'application/json'],
    [{}, 'application/json;charset="utf-8";q=0.9, image/png;level=1;q=0.2', 'application/json'],
    [{}, 'text/html, image/webp; q=0.1', 'image/webp']
  ])('for %j with Accept %s is %s', async (body, accept, type) => {
    const response = await ask(body, accept)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')!.split(';')[0]).toBe(type)
    const bytes = Buffer.from(await response.arrayBuffer())
    if (type.startsWith('image/')) expect((await sharp(bytes).metadata()).format).toBe(type.slice('image/'.length))
  })

  it.each([
    [{}, 'text/html'],
    [{ output_format: 'png' }, 'image/jpeg'],
    [{ num_images: 2 }, 'image/png']
  ])('is refused with 406 for %j with Accept %s', async (body, accept) => {
    const accepted = server.service.ledger.accepted
    const response = await ask(body, accept)
    expect(response.status).toBe(406)
    expect(await response.json()).toMatchObject({ code: 'NOT_ACCEPTABLE', field: 'accept' })
    expect(server.service.ledger.accepted).toBe(accepted)
  })
})

describe('several images', () => {
  it('have consecutive seeds, and equal the images that each seed gives alone', async () => {
    const body = { prompt: 'three', seed: 4_294_967_294, num_images: 3, num_inference_steps: 2 }
    const response = await ask(body, 'application/json')
    const { id, images, truncated, timings } = (await response.json()) as GenerateResponse
    expect(id).toBe(response.headers.get('x-request-id'))
    expect(truncated).toEqual([])
    expect(timings.total_ms).toBeGreaterThan(0)
    expect(images.map(({ index, seed }) => [index, seed])).toEqual([
      [0, 4_294_967_294],
      [1, 4_294_967_295],
      [2, 0]
    ])
    expect(response.headers.get('easel-seed')).toBe('4294967294, 4294967295, 0')
    for (const { seed, data, recipe } of images) {
      const alone = await ask({ ...body, seed, num_images: 1 })
      expect(Buffer.from(await alone.arrayBuffer()).equals(Buffer.from(data, 'base64')), `seed ${seed}`).toBe(true)
      expect(recipe).toMatchObject({ seed, prompt: 'three' })
    }
  })

  it('are the parts of a multipart answer, in order', async () => {
    const body = { seed: 7, num_images: 2, output_format: 'webp', num_inference_steps: 2 }
    const json = (await (await ask(body, 'application/json')).json()) as GenerateResponse
    const response = await ask(body, 'multipart/mixed')
    const boundary = /boundary=(\S+)/.exec(response.headers.get('content-type')!)![1]!
    const parts = Buffer.from(await response.arrayBuffer())
      .toString('latin1')
      .split(`--${boundary}`)
    expect(parts.at(-1)).toBe('--\r\n')
    for (const [index, image] of json.images.entries()) {
      const [head, ...rest] = parts[index + 1]!.split('\r\n\r\n')
      expect(head).toContain('content-type: image/webp')
      expect(head).toContain(`easel-seed: ${7 + index}`)
      const bytes = Buffer.from(rest.join('\r\n\r\n').slice(0, -2), 'latin1')
      expect(bytes.equals(Buffer.from(image.data, 'base64'))).toBe(true)
    }
  })

  it('are refused above the limit of the worker', async () => {
    const response = await ask({ num_images: 64 })
    expect(await response.json()).toMatchObject({ statusCode: 400, code: 'LIMIT_EXCEEDED', field: 'num_images' })
  })
})

describe('with EMBED_RECIPE=false', () => {
  it('the prompt is in neither the image, the headers nor the JSON', async () => {
    const { server, stop } = await openServer({ EMBED_RECIPE: 'false' })
    try {
      await server.pool.firstReady
      for (const accept of [
        'image/png',
        'image/jpeg',
        'image/webp',
        'application/json',
        'multipart/mixed',
        'text/event-stream'
      ]) {
        const response = await generate(server, { prompt: 'hushhush', seed: 3 }, { headers: { accept } })
        const body = Buffer.from(await response.arrayBuffer())
        expect(response.status).toBe(200)
        expect(body.includes('hushhush'), accept).toBe(false)
        expect(JSON.stringify([...response.headers])).not.toContain('hushhush')
        if (!accept.startsWith('text/')) expect(response.headers.get('easel-seed')).toBe('3')
      }
    } finally {
      await stop()
    }
  })
})
