import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import { Signer } from '../../src/results/signature.js'
import { MAX_READS } from '../../src/routes/stored-file.js'
import { freePort } from '../../tools/ports.mjs'
import { shareBucket } from '../results/buckets.js'
import { metric, type RunningServer, shareServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const BODY = { prompt: 'a lighthouse', size: '64x64', seed: 7, num_inference_steps: 2, response_format: 'url' }

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function make(server: RunningServer, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${server.url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
}

async function urlsOf(answer: Response): Promise<string[]> {
  const text = await answer.text()
  expect(answer.status, text).toBe(200)
  const { data } = JSON.parse(text) as { data: { url: string }[] }
  return data.map((entry) => {
    expect(Object.keys(entry)).toEqual(['url'])
    return entry.url
  })
}

async function bytesOf(url: string): Promise<Buffer> {
  const answer = await fetch(url)
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}

/** The same image in the answer itself. */
async function inline(server: RunningServer, body: object): Promise<Buffer> {
  const answer = await make(server, { ...body, response_format: 'b64_json' })
  const { data } = (await answer.json()) as { data: { b64_json: string }[] }
  return Buffer.from(data[0]!.b64_json, 'base64')
}

describe('with a folder', () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  let server: RunningServer
  shareServer(
    (started) => {
      server = started
    },
    { RESULTS: `file://${folder}` }
  )

  it('answers URLs of the gateway that have the bytes of the same request without them', async () => {
    const urls = await urlsOf(await make(server, { ...BODY, n: 2 }))
    expect(urls.map((url) => new URL(url).pathname)).toEqual([
      expect.stringMatching(/^\/results\/~\/[0-9a-f-]{36}\/0\.png$/),
      expect.stringMatching(/^\/results\/~\/[0-9a-f-]{36}\/1\.png$/)
    ])
    expect((await bytesOf(urls[0]!)).equals(await inline(server, BODY))).toBe(true)
    const head = await fetch(urls[1]!, { method: 'HEAD' })
    expect([head.status, head.headers.get('content-type'), head.headers.get('cache-control')]).toEqual([
      200,
      'image/png',
      'private, max-age=86400, immutable'
    ])
    expect(Number(head.headers.get('content-length'))).toBe((await bytesOf(urls[1]!)).length)
  })

  it('does so for the official client, in edits and variations, and in other formats', async () => {
    const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none' })
    const { data } = await client.images.generate({
      model: 'dall-e-3',
      prompt: 'a tree',
      size: '64x64' as '256x256',
      output_format: 'webp'
    })
    expect((await bytesOf(data![0]!.url!)).subarray(8, 12).toString()).toBe('WEBP')
    const picture = await inline(server, BODY)
    const varied = await client.images.createVariation({ image: new File([new Uint8Array(picture)], 'a.png') })
    expect(new URL(varied.data![0]!.url!).origin).toBe(server.url)
    const edited = await client.images.edit({
      image: new File([new Uint8Array(picture)], 'a.png'),
      prompt: 'a tree',
      response_format: 'url'
    })
    expect((await bytesOf(edited.data![0]!.url!)).subarray(1, 4).toString()).toBe('PNG')
  })

  it('stores an image once for all answers to one idempotency key', async () => {
    const before = await metric(server, 'easel_results_total', 'outcome="stored"')
    const key = { 'idempotency-key': 'stored-once' }
    const answers = await Promise.all([make(server, BODY, key), make(server, BODY, key)])
    const paths = (await Promise.all(answers.map(urlsOf))).map(([url]) => new URL(url!).pathname)
    const [replayed] = await urlsOf(await make(server, BODY, key))
    expect(new Set([...paths, new URL(replayed!).pathname]).size).toBe(1)
    expect(await metric(server, 'easel_results_total', 'outcome="stored"')).toBe(before + 1)
  })

  it('refuses a URL that was changed, has ended, or whose file is gone', async () => {
    const [url] = await urlsOf(await make(server, BODY))
    const altered = (change: (url: URL) => void) => {
      const copy = new URL(url!)
      change(copy)
      return fetch(copy)
    }
    const cases = [
      altered(({ searchParams }) => searchParams.set('expires', '99999999999')),
      altered((copy) => (copy.pathname = copy.pathname.replace('/0.png', '/1.png'))),
      altered((copy) => (copy.pathname = copy.pathname.replace('/~/', '/team-b/')))
    ]
    for (const answer of await Promise.all(cases)) {
      expect(answer.status).toBe(403)
      expect(await answer.json()).toMatchObject({ code: 'URL_INVALID' })
    }
    const malformed = await altered(({ searchParams }) => searchParams.delete('signature'))
    expect([malformed.status, await malformed.json()]).toEqual([
      400,
      expect.objectContaining({ code: 'INVALID_REQUEST', field: 'signature' })
    ])
    rmSync(join(folder, new URL(url!).pathname.replace('/results/', '')))
    const gone = await fetch(url!)
    expect([gone.status, await gone.json()]).toEqual([404, expect.objectContaining({ code: 'NOT_FOUND' })])
  })

  it('names nothing outside the folder, whatever a path looks like', async () => {
    for (const path of ['..%2F..%2Fetc/x/0.png', '%2e%2e/x/0.png', '~/..%2f..%2f..%2fetc%2fpasswd/0.png', 'a/b/passwd'])
      expect([400, 403, 404]).toContain(
        (await fetch(`${server.url}/results/${path}?expires=99999999999&signature=${'A'.repeat(43)}`)).status
      )
  })
})

it('keeps the results of each access key apart, also of one that is called ..', async () => {
  const folder = folderForTest()
  const keys = { keys: ['..', 'team'].map((name) => ({ name, key: `the-key-of-the-caller-${name}` })) }
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(keys))
  const server = await startReadyServer({ RESULTS: `file://${folder}/files`, ACCESS_KEYS: join(folder, 'keys.json') })
  for (const { key } of keys.keys) {
    const [url] = await urlsOf(await make(server, BODY, { authorization: `Bearer ${key}` }))
    // Without a key: whoever gets the URL may read it.
    expect((await fetch(url!)).status).toBe(200)
  }
  expect(readdirSync(join(folder, 'files')).toSorted()).toEqual(['team', '~..', '~identity'])
})

it('puts PUBLIC_URL before its paths, ends URLs after their time, and accepts those of its siblings', async () => {
  const folder = folderForTest()
  const shared = {
    RESULTS: `file://${folder}`,
    RESULTS_SECRET: 'x'.repeat(32),
    PUBLIC_URL: 'https://images.example.com/'
  }
  const server = await startReadyServer({ ...shared, RESULTS_URL_TTL: '1' })
  const sibling = await startReadyServer(shared)
  const [url] = await urlsOf(await make(server, BODY))
  expect(url).toMatch(/^https:\/\/images\.example\.com\/results\/~\//)
  const [lasting] = await urlsOf(await make(sibling, BODY))
  const at = (base: string, given: string) => fetch(base + new URL(given).pathname + new URL(given).search)
  expect((await at(server.url, lasting!)).status).toBe(200)
  const expires = Number(new URL(url!).searchParams.get('expires')) * 1000
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, expires - Date.now())))
  const ended = await at(server.url, url!)
  expect([ended.status, await ended.json()]).toEqual([
    403,
    expect.objectContaining({ message: 'this URL has expired; repeat the request that answered it' })
  ])
})

it('opens a bounded number of files at a time, however slowly they are read', async () => {
  const folder = folderForTest()
  const secret = 'x'.repeat(32)
  const server = await startReadyServer({ RESULTS: `file://${folder}`, RESULTS_SECRET: secret })
  // More than the kernel holds for a client that does not read.
  mkdirSync(join(folder, '~/large'), { recursive: true })
  writeFileSync(join(folder, '~/large/0.png'), Buffer.alloc(16 * 2 ** 20))
  const { expires, signature } = new Signer(secret).sign('~/large/0.png', Math.floor(Date.now() / 1000) + 600)
  const path = `/results/~/large/0.png?expires=${expires}&signature=${signature}`
  const { port } = new URL(server.url)
  const readers = await Promise.all(
    Array.from({ length: MAX_READS }, async () => {
      const socket = connect(Number(port), '127.0.0.1').pause()
      socket.on('error', () => undefined)
      socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\n\r\n`)
      await once(socket, 'connect')
      return socket
    })
  )
  const status = async () => {
    const answer = await fetch(server.url + path)
    await answer.body?.cancel()
    return answer.status
  }
  await until('no further file is opened', async () => (await status()) === 503)
  for (const reader of readers) reader.destroy()
  await until('files are opened again', async () => (await status()) === 200)
})

it('answers 507 when the folder is full, and other forms of the image still work', async () => {
  const server = await startReadyServer({ RESULTS: `file://${folderForTest()}`, RESULTS_DISK: '1024' })
  const answer = await make(server, BODY)
  expect([answer.status, answer.headers.get('retry-after'), await answer.json()]).toEqual([
    507,
    '60',
    { error: expect.objectContaining({ code: 'STORAGE_FULL', message: expect.stringContaining('RESULTS_DISK') }) }
  ])
  expect((await inline(server, BODY)).length).toBeGreaterThan(1024)
})

describe('with a bucket', () => {
  let location: string
  shareBucket('s3', (given) => {
    location = given
  })

  it('answers URLs of the bucket', async () => {
    const server = await startReadyServer({ RESULTS: location })
    const [url] = await urlsOf(await make(server, BODY))
    expect(new URL(url!).pathname).toMatch(/^\/images\/easel\/~\/[0-9a-f-]{36}\/0\.png$/)
    expect((await bytesOf(url!)).equals(await inline(server, BODY))).toBe(true)
    const own = `${server.url}/results/~/x/0.png?expires=1&signature=${'A'.repeat(43)}`
    expect((await fetch(own)).status).toBe(404)
  })

  it('says that it cannot store them, without making them again for a retry, and logs no credentials', async () => {
    const port = await freePort()
    const server = await startReadyServer({
      RESULTS: `s3://images?endpoint=http://127.0.0.1:${port}&path_style=true`
    })
    const key = { 'idempotency-key': 'again' }
    for (let tries = 0; tries < 2; tries++) {
      const answer = await make(server, BODY, key)
      expect([answer.status, answer.headers.get('retry-after'), await answer.json()]).toEqual([
        503,
        '10',
        { error: expect.objectContaining({ code: 'RESULTS_UNAVAILABLE', type: 'server_error' }) }
      ])
    }
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(1)
    expect(await metric(server, 'easel_results_total', 'outcome="failed"')).toBe(2)
    const lines = server.logs.filter(({ msg }) => msg.includes('RESULTS'))
    expect(lines).toHaveLength(2)
    expect(lines[0]).toMatchObject({ level: 50, message: expect.stringContaining('ECONNREFUSED') })
    expect(JSON.stringify(server.logs)).not.toMatch(/AWS4-HMAC|authorization/i)
    expect((await inline(server, BODY)).length).toBeGreaterThan(0)
  })
})

describe('the options', () => {
  const options = (env: NodeJS.ProcessEnv) => () => loadOptions([], env)

  it.each([
    [{ RESULTS: 's3://me:hidden@images' }, /^RESULTS: must not contain credentials/],
    [{ RESULTS_SECRET: 'hidden' }, /^RESULTS_SECRET: must have 32 characters/],
    [{ RESULTS_URL_TTL: '604801' }, /^RESULTS_URL_TTL="604801": must be a whole number from 1 to 604800/],
    [{ RESULTS_URL_TTL: '100', RESULTS_KEEP: '99' }, /RESULTS_KEEP must be at least RESULTS_URL_TTL/],
    [{ PUBLIC_URL: 'images.example.com' }, /^PUBLIC_URL=.*must be an http/],
    [{ CURVE_SECRET_KEY: 'hidden' }, /^CURVE_SECRET_KEY: /]
  ])('%j is refused, and no secret is repeated', (env, message) => {
    expect(options(env)).toThrow(message)
    expect(options(env)).not.toThrow(/hidden/)
  })
})
