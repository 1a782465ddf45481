import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { allEvents, eventsOf } from '../support/events.js'
import { generate, idle, type RunningServer, running, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const stream = (server: RunningServer, body: object, headers: Record<string, string> = {}, signal?: AbortSignal) =>
  generate(
    server,
    { prompt: 'x', ...body },
    { headers: { accept: 'text/event-stream', ...headers }, signal: signal ?? null }
  )

describe('the event stream', () => {
  it('sends queue, progress, preview, image and done events in order, with increasing ids', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 50' })
    const id = 'stream-1'
    const response = await stream(
      server,
      { seed: 5, num_inference_steps: 6, preview_interval: 2 },
      { 'x-request-id': id }
    )
    expect(response.headers.get('cache-control')).toBe('no-store')
    const events = await allEvents(response)
    expect(events.map((event) => event.id)).toEqual(events.map((event) => event.id).toSorted((a, b) => a - b))
    const kinds = events.map(({ event }) => event)
    expect(kinds[0]).toBe('queued')
    expect(kinds.slice(-2)).toEqual(['image', 'done'])
    expect(events[0]!.data).toMatchObject({ id, position: 0 })
    const steps = events.filter(({ event }) => event === 'progress').map(({ data }) => data)
    expect(steps.at(-1)).toMatchObject({ id, image: 0, of: 6 })
    const numbers = steps.map(({ step }) => step as number)
    expect(numbers).toEqual([...new Set(numbers)].toSorted((a, b) => a - b))
    const previews = events.filter(({ event }) => event === 'preview')
    expect(previews.length).toBeGreaterThan(0)
    for (const { data } of previews) {
      const { format, width, height } = await sharp(Buffer.from(data['data'] as string, 'base64')).metadata()
      expect({ mime_type: `image/${format}`, width, height }).toEqual({
        mime_type: data['mime_type'],
        width: data['width'],
        height: data['height']
      })
      expect((data['step'] as number) % 2).toBe(0)
    }
    const image = events.find(({ event }) => event === 'image')!.data
    const plain = await generate(server, { prompt: 'x', seed: 5, num_inference_steps: 6 })
    expect(Buffer.from(image['data'] as string, 'base64').equals(Buffer.from(await plain.arrayBuffer()))).toBe(true)
    expect(events.at(-1)!.data).toMatchObject({ id, timings: { total_ms: expect.any(Number) }, truncated: [] })
  })

  it('reports how many requests are ahead, and updates it', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--rows 1 --fake-step-ms 20' })
    const body = { prompt: 'x', num_inference_steps: 20, guidance_scale: 1 }
    const first = generate(server, body)
    await running(server)
    const second = generate(server, body)
    await until('the second request is accepted', () => server.service.ledger.accepted === 2)
    const events = await allEvents(await stream(server, { num_inference_steps: 1, guidance_scale: 1 }))
    const positions = events.filter(({ event }) => event === 'queued').map(({ data }) => data['position'])
    expect(positions).toEqual([1, 0])
    expect(events.at(-1)!.event).toBe('done')
    for (const response of [first, second]) expect((await response).status).toBe(200)
  })

  it('ends with an error event in the common error form when the request fails', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:1@2' })
    const response = await stream(server, { seed: 1 }, { 'x-request-id': 'bad-luck' })
    expect(response.status).toBe(200)
    const last = (await allEvents(response)).at(-1)!
    expect(last).toMatchObject({
      event: 'error',
      data: { statusCode: 500, code: 'GENERATION_FAILED', requestId: 'bad-luck' }
    })
  })

  it('is a plain error answer when the request is refused', async () => {
    const server = await startReadyServer()
    const response = await stream(server, { scheduler: 'magic' })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'UNSUPPORTED_SCHEDULER' })
  })

  it('stops the work when its reader disconnects', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const controller = new AbortController()
    const response = await stream(server, { num_inference_steps: 1000 }, {}, controller.signal)
    for await (const { event } of eventsOf(response)) if (event === 'progress') break
    controller.abort()
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === 1)
    await idle(server)
  })

  it('resumes after the last id with the same idempotency key', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const headers = { 'idempotency-key': 'k1', 'x-request-id': 'resumed' }
    const body = { seed: 9, num_inference_steps: 40, num_images: 2 }
    const controller = new AbortController()
    let seen = 0
    for await (const { id, event } of eventsOf(await stream(server, body, headers, controller.signal))) {
      seen = id
      if (event === 'progress') break
    }
    controller.abort()
    const rest = await allEvents(await stream(server, body, { ...headers, 'last-event-id': String(seen) }))
    expect(rest.every(({ id }) => id > seen)).toBe(true)
    expect(rest.filter(({ event }) => event === 'image')).toHaveLength(2)
    expect(rest.at(-1)!.event).toBe('done')
    expect(server.service.ledger).toMatchObject({ accepted: 1, ended: { succeeded: 1 } })
    // After the end, the kept events are replayed at once, in the order in which the files were made.
    const again = await allEvents(await stream(server, body, headers))
    expect(
      again
        .filter(({ event }) => event === 'image')
        .map(({ data }) => Number(data['seed']))
        .sort((a, b) => a - b)
    ).toEqual([9, 10])
    expect(again.at(-1)!.event).toBe('done')
    expect(
      await allEvents(await stream(server, body, { ...headers, 'last-event-id': String(again.at(-1)!.id) }))
    ).toEqual([])
  })
})
