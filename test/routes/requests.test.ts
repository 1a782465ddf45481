import { describe, expect, it } from 'vitest'
import { allEvents } from '../support/events.js'
import {
  generate,
  idle,
  metric,
  running,
  type RunningServer,
  shareServer,
  startReadyServer
} from '../support/server.js'
import { until } from '../support/wait.js'

const remove = (server: RunningServer, id: string) => fetch(`${server.url}/requests/${id}`, { method: 'DELETE' })
const slow = { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1 }

describe('DELETE /requests/{id}', () => {
  it('accepts the longest id that a request may have', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const id = 'i'.repeat(128)
    const cancelled = generate(server, slow, { headers: { 'x-request-id': id } })
    await running(server)
    expect((await remove(server, id)).status).toBe(204)
    expect((await cancelled).status).toBe(499)
    expect(await (await remove(server, `${id}i`)).json()).toMatchObject({
      statusCode: 400,
      code: 'INVALID_REQUEST',
      field: 'id'
    })
  })

  it('cancels running and waiting requests with the id, and no others', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--rows 1 --fake-step-ms 10' })
    const first = generate(server, slow, { headers: { 'x-request-id': 'first' } })
    await running(server)
    const second = generate(server, slow, { headers: { 'x-request-id': 'second' } })
    const third = generate(server, { ...slow, num_inference_steps: 3 }, { headers: { 'x-request-id': 'third' } })
    await until('three requests are accepted', () => server.service.ledger.accepted === 3)
    for (const id of ['second', 'first']) expect((await remove(server, id)).status).toBe(204)
    for (const response of [await first, await second]) {
      expect(response.status).toBe(499)
      expect(await response.json()).toMatchObject({ code: 'CANCELLED' })
    }
    expect((await third).status).toBe(200)
    await idle(server)
    expect(server.service.ledger.ended).toEqual({ succeeded: 1, failed: 0, cancelled: 2, expired: 0 })
  })

  it('ends an event stream with the error', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const response = generate(server, slow, { headers: { 'x-request-id': 'watched', accept: 'text/event-stream' } })
    await running(server)
    await remove(server, 'watched')
    expect((await allEvents(await response)).at(-1)).toMatchObject({
      event: 'error',
      data: { statusCode: 499, code: 'CANCELLED' }
    })
  })

  it('answers 404 for a request that has ended or never existed', async () => {
    const server = await startReadyServer()
    await generate(server, { prompt: 'x' }, { headers: { 'x-request-id': 'done' } })
    for (const id of ['done', 'never']) {
      const response = await remove(server, id)
      expect(response.status).toBe(404)
      expect(await response.json()).toMatchObject({ code: 'NOT_FOUND' })
    }
  })

  it('cancels every request with the same id', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const both = [1, 2].map(() => generate(server, slow, { headers: { 'x-request-id': 'twins' } }))
    await until('both requests are accepted', () => server.service.ledger.accepted === 2)
    expect((await remove(server, 'twins')).status).toBe(204)
    for (const response of both) expect((await response).status).toBe(499)
  })

  it.each(['encode', 'decode'])('cancels while the worker is in %s', async (stage) => {
    const server = await startReadyServer({ WORKER_ARGS: `--fake-${stage}-ms 400 --fake-step-ms 1` })
    const response = generate(
      server,
      { prompt: 'x', num_inference_steps: 2 },
      { headers: { 'x-request-id': 'here', accept: 'text/event-stream' } }
    )
    await running(server)
    expect((await remove(server, 'here')).status).toBe(204)
    expect((await allEvents(await response)).at(-1)!.event).toBe('error')
    await idle(server)
    // The worker still works: its next image is correct.
    expect((await generate(server, { prompt: 'y', num_inference_steps: 1 })).status).toBe(200)
    expect(server.service.ledger.ended).toMatchObject({ succeeded: 1, cancelled: 1 })
  })

  it('cancels while the file is encoded', async () => {
    const server = await startReadyServer({
      WORKER_ARGS: '--sizes 2048x2048 --rows 16',
      IMAGE_ENCODERS: '1',
      PNG_COMPRESSION: '9'
    })
    const names = ['a', 'b', 'c', 'd']
    const all = names.map((id, seed) =>
      generate(server, { prompt: 'x', seed, num_inference_steps: 1 }, { headers: { 'x-request-id': id } })
    )
    // All pixels have arrived; one file is being encoded and three wait.
    await until(
      'the worker has finished its part',
      () => server.pool.state.running === 0 && server.service.ledger.inFlight === 4
    )
    expect((await remove(server, 'd')).status).toBe(204)
    expect((await all[3]!).status).toBe(499)
    for (const response of all.slice(0, 3)) expect((await response).status).toBe(200)
    expect(await metric(server, 'easel_images_total')).toBe(3)
  })
})

describe('Idempotency-Key', () => {
  let server: RunningServer
  shareServer((ready) => (server = ready), { WORKER_ARGS: '--fake-step-ms 10', RESUME_WINDOW: '20' })

  const keyed = (key: string, body: object, init: RequestInit = {}) =>
    generate(server, { prompt: 'x', ...body }, { ...init, headers: { 'idempotency-key': key } })
  const bytes = async (response: Response) => {
    expect(response.status).toBe(200)
    return Buffer.from(await response.arrayBuffer()).toString('base64')
  }

  it('joins the running request: all clients share one run and its image', async () => {
    const accepted = server.service.ledger.accepted
    const responses = await Promise.all([1, 2, 3, 4].map(() => keyed('join', { num_inference_steps: 30 })))
    const images = await Promise.all(responses.map(bytes))
    expect(new Set(images).size).toBe(1)
    expect(server.service.ledger.accepted).toBe(accepted + 1)
    expect(await metric(server, 'easel_idempotent_requests_total', 'joined')).toBeGreaterThanOrEqual(3)
  })

  it('replays the finished answer with its random seed', async () => {
    const first = await keyed('again', {})
    const second = await keyed('again', {})
    expect(first.headers.get('idempotent-replayed')).toBeNull()
    expect(second.headers.get('idempotent-replayed')).toBe('true')
    expect(second.headers.get('easel-seed')).toBe(first.headers.get('easel-seed'))
    expect(await bytes(second)).toBe(await bytes(first))
  })

  it('ignores the order of the fields', async () => {
    const first = await generate(
      server,
      { prompt: 'x', width: 64, height: 64 },
      { headers: { 'idempotency-key': 'order' } }
    )
    const second = await generate(
      server,
      { height: 64, width: 64, prompt: 'x' },
      { headers: { 'idempotency-key': 'order' } }
    )
    expect(await bytes(second)).toBe(await bytes(first))
  })

  it('ignores the form of the answer and the timeout', async () => {
    const first = await keyed('forms', { seed: 3 })
    const image = await bytes(first)
    const json = await generate(
      server,
      { prompt: 'x', seed: 3, timeout: 250, preview_interval: 2, truncate: true, output_format: 'png' },
      { headers: { 'idempotency-key': 'forms', accept: 'application/json; charset=utf-8', 'x-request-timeout': '200' } }
    )
    expect(json.headers.get('idempotent-replayed')).toBe('true')
    expect(((await json.json()) as { images: { data: string }[] }).images[0]!.data).toBe(image)
    expect(
      (
        await generate(
          server,
          { prompt: 'x', seed: 3 },
          { headers: { 'idempotency-key': 'forms', accept: 'image/webp' } }
        )
      ).status
    ).toBe(422)
  })

  it('is refused with another body', async () => {
    await bytes(await keyed('reused', { seed: 1 }))
    const response = await keyed('reused', { seed: 2 })
    expect(response.status).toBe(422)
    expect(await response.json()).toMatchObject({ code: 'IDEMPOTENCY_KEY_REUSED', field: 'idempotency-key' })
  })

  it('keeps the request running after its client disconnects, for the retry to join', async () => {
    const accepted = server.service.ledger.accepted
    const controller = new AbortController()
    const left = keyed('left', { num_inference_steps: 30 }, { signal: controller.signal })
    await until('the request is accepted', () => server.service.ledger.accepted === accepted + 1)
    controller.abort()
    await expect(left).rejects.toThrow()
    await bytes(await keyed('left', { num_inference_steps: 30 }))
    expect(server.service.ledger.accepted).toBe(accepted + 1)
  })

  it('can be reused after its request was cancelled', async () => {
    const controller = generate(server, slow, { headers: { 'idempotency-key': 'tried', 'x-request-id': 'tried' } })
    await until('the request can be cancelled', async () => (await remove(server, 'tried')).status === 204)
    expect((await controller).status).toBe(499)
    const retry = generate(server, slow, { headers: { 'idempotency-key': 'tried', 'x-request-id': 'tried-2' } })
    await until('the retried request can be cancelled', async () => (await remove(server, 'tried-2')).status === 204)
    expect((await retry).status).toBe(499)
  })

  it.each(['', 'with space', 'x'.repeat(256), 'ü'])('rejects the key %j', async (key) => {
    const response = await fetch(`${server.url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': Buffer.from(key).toString('latin1') },
      body: '{"prompt":"x"}'
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'INVALID_REQUEST', field: 'idempotency-key' })
  })
})

describe('Idempotency-Key at its limits', () => {
  it('an abandoned request is cancelled after RESUME_WINDOW', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10', RESUME_WINDOW: '0.05' })
    const controller = new AbortController()
    const left = generate(server, slow, { headers: { 'idempotency-key': 'k' }, signal: controller.signal })
    await running(server)
    controller.abort()
    await expect(left).rejects.toThrow()
    await until('the request is cancelled', () => server.service.ledger.ended.cancelled === 1)
  })

  it('forgets answers above IDEMPOTENCY_BYTES', async () => {
    const server = await startReadyServer({ IDEMPOTENCY_BYTES: '10000' })
    const ask = (key: string) => generate(server, { prompt: 'x' }, { headers: { 'idempotency-key': key } })
    for (const key of ['1', '2', '3', '4']) await (await ask(key)).arrayBuffer()
    expect(server.service.keysKnown).toBeLessThan(4)
    expect((await ask('1')).headers.get('idempotent-replayed')).toBeNull()
  })

  it("survives the worker's death", async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const headers = { 'idempotency-key': 'crash' }
    const body = { prompt: 'x', num_inference_steps: 40 }
    const first = generate(server, body, { headers })
    await running(server)
    process.kill(server.pool.workerPids[0]!, 'SIGKILL')
    const second = generate(server, body, { headers })
    const images = await Promise.all(
      [first, second].map(async (response) => Buffer.from(await (await response).arrayBuffer()).toString('base64'))
    )
    expect(images[0]).toBe(images[1])
    expect(server.service.ledger).toMatchObject({ accepted: 1, ended: { succeeded: 1 } })
  })
})
