import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { generate, metric, type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

let server: RunningServer
shareServer((ready) => (server = ready))

const send = (path: string, body: Uint8Array | string, headers: Record<string, string> = {}) =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : new Uint8Array(body)
  })
const json = Buffer.from(JSON.stringify({ prompt: 'é' }))

describe.each(['/generate', '/v1/images/generations'])('a body of %s', (path) => {
  it.each([
    ['in Latin-1', Buffer.from('{"prompt":"\xe9"}', 'latin1'), {}, 400, 'UTF-8'],
    [
      'cut inside a UTF-8 character',
      Buffer.concat([Buffer.from('{"prompt":"'), Buffer.from('é').subarray(0, 1), Buffer.from('"}')]),
      {},
      400,
      'UTF-8'
    ],
    ['in another charset', json, { 'content-type': 'application/json; charset=iso-8859-1' }, 415, 'UTF-8'],
    ['that is compressed', gzipSync(json), { 'content-encoding': 'gzip' }, 415, 'identity'],
    ['that is empty', Buffer.alloc(0), {}, 400, 'empty'],
    ['that sets __proto__', Buffer.from('{"prompt":"x","__proto__":{"a":1}}'), {}, 400, ''],
    ['in XML', Buffer.from('<a/>'), { 'content-type': 'text/xml' }, 415, 'content-type must be application/json']
  ])('%s is refused', async (_what, body, headers, status, words) => {
    const accepted = server.service.ledger.accepted
    const response = await send(path, body, headers)
    expect(response.status).toBe(status)
    expect(await response.text()).toContain(words)
    expect(server.service.ledger.accepted).toBe(accepted)
  })

  it.each([
    ['with its charset', json, { 'content-type': 'application/json; charset=UTF-8' }],
    ['with a byte order mark', Buffer.concat([Buffer.from('\ufeff'), json]), {}],
    ['with content-encoding identity', json, { 'content-encoding': 'identity' }]
  ])('%s is accepted', async (_what, body, headers) => {
    expect((await send(path, body, headers)).status).toBe(200)
  })
})

describe('DELETE /requests/{id}', () => {
  it.each([
    ['application/json', ''],
    ['application/json', '{'],
    ['text/plain', 'hello'],
    ['no type', 'hello']
  ])('cancels despite content-type %s and body %j', async (type, body) => {
    const slow = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const cancelled = generate(slow, { prompt: 'x', num_inference_steps: 1000 }, { headers: { 'x-request-id': 'it' } })
    await until('the request is accepted', () => slow.service.ledger.accepted === 1)
    const response = await fetch(`${slow.url}/requests/it`, {
      method: 'DELETE',
      headers: type === 'no type' ? {} : { 'content-type': type },
      body: body === '' ? null : body
    })
    expect(response.status).toBe(204)
    expect((await cancelled).status).toBe(499)
  })
})

describe('a field by another name', () => {
  it.each([
    ['steps', 'num_inference_steps'],
    ['n', 'num_images'],
    ['cfg_scale', 'guidance_scale'],
    ['sampler_name', 'scheduler'],
    ['negativePrompt', 'negative_prompt'],
    ['promt', 'prompt'],
    ['widht', 'width'],
    ['batch-size', 'num_images']
  ])('%s gets the suggestion %s', async (name, field) => {
    const response = await generate(server, { prompt: 'x', [name]: 1 })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      code: 'INVALID_REQUEST',
      field: name,
      message: `"${name}" is not a field of this request; did you mean ${field}?`
    })
  })

  it.each(['lora_scale_of_something_else', 'x'.repeat(60_000), '__proto__x'])(
    'is refused without a suggestion if similar to none of ours: %.40s',
    async (name) => {
      expect(
        ((await (await generate(server, { prompt: 'x', [name]: 1 })).json()) as { message: string }).message
      ).not.toContain('did you mean')
    }
  )
})

describe('refusals', () => {
  it('are counted by code, and nothing else is', async () => {
    const own = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:13@1' })
    const ask = (path: string, init: RequestInit) => fetch(`${own.url}${path}`, init)
    const type = { 'content-type': 'application/json' }
    await generate(own, { prompt: '' })
    await generate(own, { prompt: 'x', width: 999 })
    await ask('/generate', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' })
    await ask('/v1/images/generations', { method: 'POST', headers: type, body: '{' })
    await ask('/nothing', {})
    // Accepted, so not a refusal.
    expect((await generate(own, { prompt: 'x', seed: 13 })).status).toBe(500)
    const counted = async (code: string) => metric(own, 'easel_requests_refused_total', `code="${code}"`)
    expect(await counted('INVALID_REQUEST')).toBe(2)
    expect(await counted('UNSUPPORTED_SIZE')).toBe(1)
    expect(await counted('UNSUPPORTED_MEDIA_TYPE')).toBe(1)
    expect(await counted('NOT_FOUND')).toBe(1)
    expect(await metric(own, 'easel_requests_refused_total')).toBe(5)
  })

  it('log the name of the wrong field', async () => {
    await generate(server, { prompt: 'x', seed: 'one' }, { headers: { 'x-request-id': 'wrong-seed' } })
    await until('the wrong field is logged', () =>
      server.logs.some(
        ({ requestId, field, msg }) => requestId === 'wrong-seed' && field === 'seed' && msg.endsWith('(seed)')
      )
    )
  })
})

it('ignores a trailing slash in the path', async () => {
  expect((await fetch(`${server.url}/health/`)).status).toBe(200)
  expect((await send('/generate/', JSON.stringify({ prompt: 'x' }))).status).toBe(200)
  const wrong = await fetch(`${server.url}/generate/`)
  expect([wrong.status, wrong.headers.get('allow')]).toEqual([405, 'POST'])
})
