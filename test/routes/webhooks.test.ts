import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import type { JobWebhook } from '../../src/schemas/job-webhook.js'
import { blackPng } from '../support/pictures.js'
import { type Receiver, secretOf, startReceiver } from '../support/receiver.js'
import { eventsOf, putJob as put, secrets, sending } from '../support/sending.js'
import { generate, metric, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const json = { 'content-type': 'application/json' }
const ASYNC = { prefer: 'respond-async' }
const slow = { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1 }
const events = (receiver: Receiver, secret?: string) => eventsOf<JobWebhook>(receiver, secret)

describe('a job with a webhook', () => {
  it('is told when it has been made, signed with each secret, without its images and recipes', async () => {
    const receiver = await startReceiver()
    const server = await sending([receiver], { PUBLIC_URL: 'https://images.example.com' })
    const webhook = `${receiver.url}/in/path-of-theirs?token=token-of-theirs`
    expect((await put(server, 'a', { prompt: 'a private prompt', num_images: 2, webhook })).status).toBe(202)
    // The same job: it has the webhook that it was first submitted with.
    const again = await put(server, 'a', {
      prompt: 'a private prompt',
      num_images: 2,
      webhook: `${receiver.url}/other`
    })
    expect(again.headers.get('idempotent-replayed')).toBe('true')
    await until('it is told', () => receiver.got.length > 0)
    const [{ path, headers, body }] = receiver.got as [(typeof receiver.got)[0]]
    expect(path).toBe('/in/path-of-theirs?token=token-of-theirs')
    expect(headers['webhook-id']).toMatch(/^msg_[0-9a-f-]{36}$/)
    expect(headers['webhook-signature']).toMatch(/^v1,\S+ v1,\S+$/)
    for (const secret of secrets) expect(events(receiver, secret)).toHaveLength(1)
    expect(() => events(receiver, secretOf(3))).toThrow()
    expect(body).not.toContain('private prompt')

    const job = (await (await fetch(`${server.url}/jobs/a`)).json()) as JobWebhook['data']
    const absolute = (url: string) => `https://images.example.com${url}`
    expect(events(receiver)[0]).toEqual({
      type: 'job.succeeded',
      timestamp: job.ended_at,
      data: {
        ...job,
        links: { self: absolute('/jobs/a'), events: absolute('/jobs/a/events') },
        result: {
          ...job.result,
          images: job.result!.images.map(({ recipe: _recipe, url, ...image }) => ({ ...image, url: absolute(url) }))
        }
      }
    })
    await until('it is counted', async () => (await metric(server, 'easel_webhooks_total', 'delivered')) === 1)
    expect(await metric(server, 'easel_webhook_duration_seconds_count')).toBe(1)
    const lines = server.logs.filter(({ msg }) => msg.includes('webhook'))
    expect(lines).toMatchObject([{ job: 'a', to: receiver.url, attempts: 1 }])
    const log = JSON.stringify(server.logs)
    for (const secret of [...secrets, 'path-of-theirs', 'token-of-theirs']) expect(log).not.toContain(secret)
    expect(receiver.got).toHaveLength(1)
  })

  it('is told with the URLs of its files, where those are elsewhere', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-results-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const receiver = await startReceiver()
    const base = 'https://images.example.com'
    const server = await sending([receiver], { RESULTS: `file://${folder}`, PUBLIC_URL: base })
    await put(server, 'a', { prompt: 'x', webhook: receiver.url })
    await until('it is told', () => receiver.got.length > 0)
    const [image] = events(receiver)[0]!.data.result!.images
    expect(image).toMatchObject({
      url: `${base}/jobs/a/images/0`,
      signed_url: expect.stringMatching(/^https:\/\/images\.example\.com\/.*signature=/) as string
    })
    const file = await fetch(image!.signed_url!.replace(base, server.url))
    expect([file.status, file.headers.get('content-type')]).toEqual([200, 'image/png'])
  })

  it('is told of every other end', async () => {
    const receiver = await startReceiver()
    const webhook = receiver.url
    const server = await sending([receiver], { WORKER_ARGS: '--fake-step-ms 10', JOB_CLAIM_TIMEOUT: '0.6' })
    await put(server, 'failed', { prompt: 'x', image: Buffer.from('none').toString('base64'), webhook })
    await put(server, 'expired', { ...slow, timeout: 0.5, webhook })
    await put(server, 'cancelled', { ...slow, webhook })
    await fetch(`${server.url}/jobs/cancelled`, { method: 'DELETE' })
    await until('all are told', () => receiver.got.length === 3)
    expect(
      events(receiver)
        .map(({ type, data: { id, status, error } }) => [type, id, status, error!.statusCode])
        .sort()
    ).toEqual([
      ['job.cancelled', 'cancelled', 'cancelled', 499],
      ['job.expired', 'expired', 'expired', expect.any(Number)],
      ['job.failed', 'failed', 'failed', 400]
    ])
  })

  it('may come in a form, and through OpenAI’s client', async () => {
    const receiver = await startReceiver()
    const server = await sending([receiver])
    const form = new FormData()
    for (const [name, value] of Object.entries({ prompt: 'x', strength: '0.5', webhook: receiver.url }))
      form.set(name, value)
    const picture = blackPng({ width: 64, height: 64 }) as Uint8Array<ArrayBuffer>
    form.set('image', new Blob([picture], { type: 'image/png' }), 'p.png')
    expect((await fetch(`${server.url}/generate`, { method: 'POST', headers: ASYNC, body: form })).status).toBe(202)
    const client = new OpenAI({ apiKey: 'none', baseURL: `${server.url}/v1` })
    const extra = { webhook: receiver.url } as object
    const made = client.images.generate({ prompt: 'x', size: '64x64' as '256x256', ...extra }, { headers: ASYNC })
    expect((await made.asResponse()).status).toBe(202)
    const edited = client.images.edit(
      { image: new File([picture], 'p.png'), prompt: 'x', ...extra },
      { headers: ASYNC }
    )
    expect((await edited.asResponse()).status).toBe(202)
    await until('all are told', () => receiver.got.length === 3)
    expect(events(receiver).map(({ type }) => type)).toEqual(Array(3).fill('job.succeeded'))
  })
})

describe('a webhook is refused', () => {
  const refused = async (response: Response, status: number, code: string, message: RegExp) => {
    const body = (await response.json()) as { message: string }
    expect([response.status, body]).toEqual([status, expect.objectContaining({ code, field: 'webhook' })])
    expect(body.message).toMatch(message)
  }

  it('where nothing is allowed, and for a host that is not', async () => {
    const nowhere = await startReadyServer()
    const webhook = 'https://hooks.example.com/'
    await refused(await put(nowhere, 'a', { prompt: 'x', webhook }), 403, 'WEBHOOK_NOT_ALLOWED', /WEBHOOK_HOSTS/)
    const receiver = await startReceiver()
    const server = await sending([receiver])
    for (const url of [
      webhook,
      receiver.url.replace('127.0.0.1', 'localhost'),
      receiver.url.replace('http:', 'https:')
    ])
      await refused(await put(server, 'a', { prompt: 'x', webhook: url }), 403, 'WEBHOOK_NOT_ALLOWED', /WEBHOOK_HOSTS/)
    expect((await fetch(`${server.url}/jobs/a`)).status).toBe(404)
  })

  it('if it is no URL, or has a password', async () => {
    const receiver = await startReceiver()
    const server = await sending([receiver])
    for (const webhook of [
      '',
      'hooks.example.com',
      'file:///etc/passwd',
      receiver.url.replace('//', '//me:hunter2@')
    ]) {
      const response = await put(server, 'a', { prompt: 'x', webhook })
      const text = await response.clone().text()
      expect(text).not.toContain('hunter2')
      await refused(response, 400, 'INVALID_REQUEST', /^webhook must/)
    }
    expect(JSON.stringify(server.logs)).not.toContain('hunter2')
    expect((await put(server, 'a', { prompt: 'x', webhook: `${receiver.url}/${'x'.repeat(2048)}` })).status).toBe(400)
    expect((await put(server, 'a', { prompt: 'x', webhook: 7 })).status).toBe(400)
  })

  it('of a request that is no job', async () => {
    const receiver = await startReceiver()
    const server = await sending([receiver])
    const body = { prompt: 'x', webhook: receiver.url }
    await refused(await generate(server, body), 400, 'INVALID_REQUEST', /Prefer: respond-async/)
    const image = blackPng({ width: 64, height: 64 }).toString('base64')
    await refused(await generate(server, { ...body, image }), 400, 'INVALID_REQUEST', /Prefer: respond-async/)
    const openai = await fetch(`${server.url}/v1/images/generations`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify({ ...body, size: '64x64' })
    })
    expect(openai.status).toBe(400)
  })
})

describe('webhooks with access keys', () => {
  const KEYS = [
    { name: 'a', key: 'the-secret-of-team-a' },
    { name: 'b', key: 'the-secret-of-team-b', webhook_secrets: [secretOf(9)] },
    { name: 'c', key: 'the-secret-of-team-c' }
  ]
  const [a, b, c] = KEYS.map(({ key }) => ({ authorization: `Bearer ${key}` })) as [
    { authorization: string },
    { authorization: string },
    { authorization: string }
  ]

  it('go where the key of the job may send, signed with its secret, as the key file is now', async () => {
    const [one, other] = [await startReceiver(), await startReceiver()]
    const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const file = join(folder, 'keys.json')
    const write = (hosts: string[][]) =>
      writeFile(file, JSON.stringify({ keys: KEYS.map((key, index) => ({ ...key, webhook_hosts: hosts[index] })) }))
    await write([[one.url], [other.url], []])
    await writeFile(join(folder, 'secrets'), `${secrets[0]}\n`)
    const server = await startReadyServer({
      ACCESS_KEYS: file,
      WEBHOOK_NETWORKS: '127.0.0.0/8',
      WEBHOOK_SECRETS: `@${join(folder, 'secrets')}`
    })
    const submit = (key: object, id: string, { url }: Receiver) =>
      put(server, id, { prompt: 'x', webhook: url }, key as Record<string, string>)
    expect((await submit(a, '1', one)).status).toBe(202)
    expect((await submit(b, '1', other)).status).toBe(202)
    for (const [key, receiver] of [
      [a, other],
      [b, one],
      [c, one]
    ] as const) {
      const response = await submit(key, '2', receiver)
      expect(response.status).toBe(403)
      expect(((await response.json()) as { message: string }).message).toMatch(/webhook_hosts of the key [abc]/)
    }
    await until('both are told', () => one.got.length + other.got.length === 2)
    expect([events(one), events(other, secretOf(9))].map(({ length }) => length)).toEqual([1, 1])
    expect(() => events(other)).toThrow()

    await write([[], [other.url], [one.url]])
    await until('the file is read', async () => (await submit(c, '3', one)).status === 202)
    expect((await submit(a, '3', one)).status).toBe(403)
    await until('it is told', () => one.got.length === 2)
    expect(server.logs.find(({ key }) => key === 'c')).toBeDefined()
    for (const key of KEYS) expect(JSON.stringify(server.logs)).not.toContain(key.key)
    expect(JSON.stringify(server.logs)).not.toContain(secretOf(9))
  })
})

it('workers do not get what only the gateway may know', async () => {
  const names = ['WEBHOOK_SECRETS', 'RESULTS_SECRET', 'JOB_STORE', 'CURVE_SECRET_KEY']
  for (const name of names) vi.stubEnv(name, 'only-for-the-gateway')
  vi.stubEnv('WEBHOOK_TEST', 'for all')
  onTestFinished(() => void vi.unstubAllEnvs())
  const server = await startReadyServer()
  const environment = await readFile(`/proc/${server.pool.workerPids[0]!}/environ`, 'utf8')
  expect(environment).toContain('WEBHOOK_TEST=for all')
  expect(environment).not.toContain('only-for-the-gateway')
})
