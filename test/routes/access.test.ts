import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { generate, metric, type RunningServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

const KEYS = {
  a: { name: 'team-a', key: 'team-a-secret-key-1' },
  b: { name: 'team-b', key: 'team-b-secret-key-2' },
  slow: { name: 'slow', key: 'slow-team-secret-key', requests_per_minute: 2, concurrent_requests: 1 }
}

async function keyFile(...keys: object[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'keys.json')
  await writeFile(path, JSON.stringify({ keys }))
  return path
}

const bearer = ({ key }: { key: string }) => ({ authorization: `Bearer ${key}` })
const ask = (server: RunningServer, headers: Record<string, string>, body: object = {}) =>
  generate(server, { prompt: 'x', ...body }, { headers })

describe('with access keys', () => {
  it('counts every request with pictures for the rate of its key, before it is read', async () => {
    const paths = ['/generate', '/estimate', '/controls/preview', '/sdapi/v1/txt2img', '/sdapi/v1/img2img'].concat(
      ['generations', 'edits', 'variations'].map((kind) => `/v1/images/${kind}`)
    )
    const keys = paths.map((_, index) => ({
      name: `${index}`,
      key: `the-key-of-route-${index}`,
      requests_per_minute: 1
    }))
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(...keys) })
    for (const [index, path] of paths.entries()) {
      const headers = { ...bearer(keys[index]!), 'content-type': 'application/json' }
      const post = async () => (await fetch(server.url + path, { method: 'POST', headers, body: '{' })).status
      expect([path, await post(), await post()]).toEqual([path, 400, 429])
    }
  })

  it('requires a key for images, but not for health, metrics, the page or documents', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(KEYS.a) })
    expect((await ask(server, bearer(KEYS.a))).status).toBe(200)
    const paths: [method: string, path: string][] = [
      ['POST', '/generate'],
      ['POST', '/v1/images/generations'],
      ['GET', '/v1/models'],
      ['POST', '/recipe'],
      ['DELETE', '/requests/x'],
      ['GET', '/requests/x/events']
    ]
    for (const [method, path] of paths) {
      for (const authorization of [undefined, 'Bearer wrong-key', 'Basic dGVhbTprZXk=', `Bearer ${KEYS.a.key}x`]) {
        const response = await fetch(`${server.url}${path}`, {
          method,
          headers: authorization === undefined ? {} : { authorization }
        })
        expect(response.status, `${method} ${path} ${authorization}`).toBe(401)
        expect(response.headers.get('www-authenticate')).toBe('Bearer')
        expect(JSON.stringify(await response.json())).toContain('UNAUTHORIZED')
      }
    }
    for (const path of ['/health', '/health/live', '/metrics', '/openapi.json', '/docs'])
      expect((await fetch(`${server.url}${path}`)).status, path).toBe(200)
  })

  it('logs and counts requests under the name of the key, never the key itself', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(KEYS.a, KEYS.b) })
    await ask(server, bearer(KEYS.a))
    for (const _ of [1, 2]) await ask(server, bearer(KEYS.b))
    expect(await metric(server, 'easel_key_requests_total', 'key="team-a",outcome="succeeded"')).toBe(1)
    expect(await metric(server, 'easel_key_requests_total', 'key="team-b"')).toBe(2)
    await until('both requests are logged', () => server.logs.filter(({ key }) => key === 'team-b').length >= 2)
    for (const { key } of Object.values(KEYS)) expect(JSON.stringify(server.logs)).not.toContain(key)
  })

  it("does not let a caller cancel, watch or replay another caller's request", async () => {
    const server = await startReadyServer({
      ACCESS_KEYS: await keyFile(KEYS.a, KEYS.b),
      WORKER_ARGS: '--fake-step-ms 10'
    })
    const names = { 'x-request-id': 'same', 'idempotency-key': 'same' }
    const first = ask(server, { ...bearer(KEYS.a), ...names }, { num_inference_steps: 1000 })
    await until('the request is accepted', () => server.service.ledger.accepted === 1)
    const remove = (key: { key: string }) =>
      fetch(`${server.url}/requests/same`, { method: 'DELETE', headers: bearer(key) })
    expect((await fetch(`${server.url}/requests/same/events`, { headers: bearer(KEYS.b) })).status).toBe(404)
    expect((await remove(KEYS.b)).status).toBe(404)
    // Two callers may use the same idempotency key with different bodies.
    expect(
      (await ask(server, { ...bearer(KEYS.b), 'idempotency-key': 'same' }, { num_inference_steps: 1 })).status
    ).toBe(200)
    expect((await remove(KEYS.a)).status).toBe(204)
    expect((await first).status).toBe(499)
  })

  it('a key has its own rate and concurrency limit', async () => {
    const server = await startReadyServer({
      ACCESS_KEYS: await keyFile(KEYS.a, KEYS.slow),
      WORKER_ARGS: '--fake-step-ms 10'
    })
    const first = ask(server, { ...bearer(KEYS.slow), 'x-request-id': 'long' }, { num_inference_steps: 1000 })
    await until('the request is accepted', () => server.service.ledger.accepted === 1)
    const second = await ask(server, bearer(KEYS.slow))
    expect(await second.json()).toMatchObject({ statusCode: 429, code: 'CONCURRENCY_LIMITED' })
    const third = await ask(server, bearer(KEYS.slow))
    expect(await third.json()).toMatchObject({ statusCode: 429, code: 'RATE_LIMITED' })
    for (const response of [second, third]) expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
    const throughOpenAi = await fetch(`${server.url}/v1/images/generations`, {
      method: 'POST',
      headers: { ...bearer(KEYS.slow), 'content-type': 'application/json' },
      body: '{"prompt":"x"}'
    })
    expect(await throughOpenAi.json()).toMatchObject({ error: { code: 'RATE_LIMITED', type: 'rate_limit_error' } })
    for (const _ of [1, 2, 3, 4]) expect((await ask(server, bearer(KEYS.a))).status).toBe(200)
    const counted = (headers: Record<string, string>) =>
      fetch(`${server.url}/tokenize`, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: '{"prompt":"x"}'
      })
    expect((await counted({})).status).toBe(401)
    // Neither counting tokens nor cancelling counts towards the rate.
    expect((await counted(bearer(KEYS.slow))).status).toBe(200)
    expect((await fetch(`${server.url}/requests/long`, { method: 'DELETE', headers: bearer(KEYS.slow) })).status).toBe(
      204
    )
    expect((await first).status).toBe(499)
  })

  it('accepts a key from the official OpenAI client', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(KEYS.a) })
    const client = (apiKey: string) => new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 })
    expect((await client(KEYS.a.key).images.generate({ prompt: 'x' })).data).toHaveLength(1)
    await expect(client('wrong').images.generate({ prompt: 'x' })).rejects.toBeInstanceOf(OpenAI.AuthenticationError)
  })

  it('reloads a changed key file, but keeps the old keys if it is invalid', async () => {
    const path = await keyFile(KEYS.a)
    const server = await startReadyServer({ ACCESS_KEYS: path })
    const status = async (key: { key: string }) =>
      (await fetch(`${server.url}/v1/models`, { headers: bearer(key) })).status
    expect(await status(KEYS.b)).toBe(401)
    await writeFile(path, JSON.stringify({ keys: [KEYS.b] }))
    await until('the new key is accepted', async () => (await status(KEYS.b)) === 200)
    expect(await status(KEYS.a)).toBe(401)
    await writeFile(path, '{"keys": [')
    await until('the error is logged', () => server.logs.some(({ msg }) => msg.includes('cannot be used')))
    expect(await status(KEYS.b)).toBe(200)
  })

  it('accepts a key file with a byte order mark', async () => {
    const path = await keyFile()
    await writeFile(path, `\ufeff${JSON.stringify({ keys: [KEYS.a] })}`)
    const server = await startReadyServer({ ACCESS_KEYS: path })
    expect((await ask(server, bearer(KEYS.a))).status).toBe(200)
  })

  it('refuses to start with a missing or invalid key file', async () => {
    await expect(startServer({ ACCESS_KEYS: '/no/such/keys.json' })).rejects.toThrow('/no/such/keys.json')
    await expect(startServer({ ACCESS_KEYS: await keyFile({ name: 'a' }) })).rejects.toThrow('either key or sha256')
  })
})

describe('CORS', () => {
  const from = (server: RunningServer, origin: string) => fetch(`${server.url}/v1/models`, { headers: { origin } })

  it('is off unless configured', async () => {
    const server = await startServer()
    expect((await from(server, 'https://app.example')).headers.get('access-control-allow-origin')).toBeNull()
  })

  it('allows only the configured origins, and exposes our headers to them', async () => {
    const server = await startServer({ CORS_ORIGINS: 'https://app.example https://b.example:8443' })
    const response = await from(server, 'https://b.example:8443')
    expect(response.headers.get('access-control-allow-origin')).toBe('https://b.example:8443')
    expect(response.headers.get('access-control-expose-headers')).toContain('easel-seed')
    expect((await from(server, 'https://evil.example')).headers.get('access-control-allow-origin')).toBeNull()
    // Check every method of every route.
    const { paths } = (await (await fetch(`${server.url}/openapi.json`)).json()) as { paths: Record<string, object> }
    for (const [path, methods] of Object.entries(paths)) {
      for (const method of Object.keys(methods)) {
        const headers = {
          origin: 'https://app.example',
          'access-control-request-method': method.toUpperCase(),
          'access-control-request-headers': 'authorization,content-type,idempotency-key'
        }
        const preflight = await fetch(`${server.url}${path.replace(/\{\w+\}/, 'x')}`, { method: 'OPTIONS', headers })
        expect(preflight.status).toBe(204)
        expect(preflight.headers.get('access-control-allow-methods')?.split(/, */), `${method} ${path}`).toContain(
          method.toUpperCase()
        )
        expect(preflight.headers.get('access-control-allow-headers')).toContain('idempotency-key')
      }
    }
  })
})

describe('prompts', () => {
  it('are not logged', async () => {
    const server = await startReadyServer()
    for (const body of [
      { prompt: 'hushhush' },
      { prompt: 'hushhush', scheduler: 'magic' },
      { prompt: 'hushhush '.repeat(200) },
      { prompt: 'hushhush', accept: 1 }
    ])
      await generate(server, body)
    await until(
      'four requests are logged',
      () => server.logs.filter(({ msg }) => msg.startsWith('POST /generate')).length === 4
    )
    expect(JSON.stringify(server.logs)).not.toContain('hushhush')
  })

  it('are logged with LOG_PROMPTS', async () => {
    const server = await startReadyServer({ LOG_PROMPTS: 'true' })
    await generate(server, { prompt: 'hushhush', negative_prompt: 'fog' })
    await until('the prompts are logged', () =>
      server.logs.some(({ prompt, negative_prompt }) => prompt === 'hushhush' && negative_prompt === 'fog')
    )
  })
})

describe('ADMIN_PORT', () => {
  it('moves probes and metrics off the main port', async () => {
    const server = await startReadyServer({ ADMIN_PORT: '0' })
    await server.admin!.listen({ host: '127.0.0.1', port: 0 })
    const { port } = server.admin!.server.address() as { port: number }
    const status = async (base: string, path: string) => (await fetch(`${base}${path}`)).status
    for (const path of ['/health', '/health/live', '/health/ready', '/v2/health/ready', '/metrics'])
      expect(await status(`http://127.0.0.1:${port}`, path), path).toBe(200)
    for (const path of ['/health/live', '/v2/health/ready', '/metrics'])
      expect(await status(server.url, path), path).toBe(404)
    expect(await status(server.url, '/health')).toBe(200)
    expect(await status(`http://127.0.0.1:${port}`, '/v1/models')).toBe(404)
  })
})
