import { describe, expect, it } from 'vitest'
import { generate, idle, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

/** Makes one image, so that the server can measure a step. */
async function measure(server: RunningServer): Promise<void> {
  expect((await generate(server, { prompt: 'x', num_inference_steps: 10, guidance_scale: 1 })).status).toBe(200)
  await until('the step time is measured', () => server.pool.defaultModel.secondsLeft('euler', 1) !== undefined)
  await idle(server)
}

describe('a deadline', () => {
  it.each([
    ['in the body', { timeout: 0.2 }, {}],
    ['in a header', {}, { 'x-request-timeout': '0.2' }],
    ['in both, of which the lesser counts', { timeout: 30 }, { 'x-request-timeout': '0.2' }]
  ])('%s ends the request with 504 and frees its rows', async (_where, body, headers) => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const response = await generate(server, { prompt: 'x', num_inference_steps: 1000, ...body }, { headers })
    expect(response.status).toBe(504)
    expect(await response.json()).toMatchObject({ code: 'DEADLINE_EXCEEDED' })
    await idle(server)
    expect(server.service.ledger.ended).toMatchObject({ expired: 1 })
  })

  it("is capped at the server's REQUEST_TIMEOUT", async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20', REQUEST_TIMEOUT: '0.2' })
    const response = await generate(server, { prompt: 'x', num_inference_steps: 1000, timeout: 600 })
    expect(response.status).toBe(504)
  })

  it('that the queue makes unreachable gets 503 with Retry-After at once', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20 --rows 1' })
    await measure(server)
    const controller = new AbortController()
    const before = generate(
      server,
      { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1 },
      { signal: controller.signal }
    )
    await until('two requests are accepted', () => server.service.ledger.accepted === 2)
    const response = await generate(server, { prompt: 'x', num_inference_steps: 2, guidance_scale: 1, timeout: 2 })
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({
      code: 'DEADLINE_UNREACHABLE',
      field: 'timeout',
      message: expect.stringMatching(/done in about \d/)
    })
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(10)
    controller.abort()
    await expect(before).rejects.toThrow()
  })

  it('that is too short even for an idle server gets 503 without Retry-After', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    await measure(server)
    const response = await generate(server, { prompt: 'x', num_inference_steps: 1000, timeout: 2 })
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({
      code: 'DEADLINE_UNREACHABLE',
      field: 'timeout',
      message: expect.stringMatching(/^the request takes about \d.* even on an idle server/)
    })
    expect(response.headers.get('retry-after')).toBeNull()
    expect(server.service.ledger.accepted).toBe(1)
    expect((await generate(server, { prompt: 'x', num_inference_steps: 2, timeout: 30 })).status).toBe(200)
  })

  it('is checked against the work queued ahead', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--rows 1 --fake-step-ms 10' })
    await measure(server)
    const long = generate(
      server,
      { prompt: 'x', num_inference_steps: 900, guidance_scale: 1, timeout: 100 },
      { headers: { 'x-request-id': 'long' } }
    )
    await until('two requests are accepted', () => server.service.ledger.accepted === 2)
    const behind = await generate(server, { prompt: 'x', num_inference_steps: 1, guidance_scale: 1, timeout: 3 })
    expect(await behind.json()).toMatchObject({ statusCode: 503, code: 'DEADLINE_UNREACHABLE' })
    await fetch(`${server.url}/requests/long`, { method: 'DELETE' })
    expect((await long).status).toBe(499)
    await idle(server)
    expect(
      (await generate(server, { prompt: 'x', num_inference_steps: 1, guidance_scale: 1, timeout: 3 })).status
    ).toBe(200)
  })

  it.each([
    ['timeout', { timeout: 0 }, {}],
    ['x-request-timeout', {}, { 'x-request-timeout': 'soon' }]
  ])('that is malformed in %s gets 400', async (field, body, headers) => {
    const server = await startReadyServer()
    const response = await generate(server, { prompt: 'x', ...body }, { headers })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'INVALID_REQUEST', field })
  })
})
