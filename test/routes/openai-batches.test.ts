import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import OpenAI from 'openai'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest'
import { clientOf, create, ended, ENDPOINT, fileOf, lineOf, linesAt, numbered, upload } from '../support/batches.js'
import { metric, openServer, type RunningServer, startReadyServer, startServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const INSTALL_MS = 300_000
/** SDXL's own fields, which the client's types lack. */
const SEEDED = { num_inference_steps: 2, seed: 7 }

const OUTCOMES = { crashed: '{}', expired: '{}' }

let valkey: ValkeyServer
beforeAll(async () => {
  valkey = await startValkey()
}, INSTALL_MS)
afterAll(() => valkey.stop())

async function bytesIn(server: RunningServer): Promise<number> {
  await server.jobs.store.tend(OUTCOMES)
  return server.jobs.store.counts.bytes
}

describe.each(['memory', 'Valkey'])('batches, kept in %s', (where) => {
  let server: RunningServer
  let client: OpenAI
  beforeAll(async () => {
    const opened = await openServer({
      ...(where === 'memory' ? {} : { JOB_STORE: valkey.url }),
      JOB_CLAIM_TIMEOUT: '3',
      WORKER_ARGS: '--fake-faults raise:13@2'
    })
    server = opened.server
    await server.pool.firstReady
    await until('the job store answers', () => server.jobs.store.available)
    client = clientOf(server)
    return opened.stop
  })

  it('give lines that say no seed different ones', async () => {
    const { id } = await create(client, [lineOf('a', { prompt: 'the same' }), lineOf('b', { prompt: 'the same' })])
    const [a, b] = await linesAt(client, (await ended(client, id)).output_file_id)
    expect(fileOf(a!).equals(fileOf(b!))).toBe(false)
  })

  it('make the images of each line, and are read with the official client', async () => {
    const lines = [
      ...numbered(20),
      lineOf('seeded', { seed: 7, n: 2, output_format: 'webp' }),
      lineOf('a url', { seed: 7, response_format: 'url' }),
      lineOf('fails', { seed: 13, num_inference_steps: 4 })
    ]
    const created = await create(client, lines, { metadata: { job: 'nightly' } })
    expect(created).toMatchObject({
      object: 'batch',
      endpoint: ENDPOINT,
      status: 'validating',
      completion_window: '24h',
      metadata: { job: 'nightly' },
      request_counts: { total: 0, completed: 0, failed: 0 },
      output_file_id: null
    })
    expect(created.expires_at! - created.created_at).toBe(86_400)
    const batch = await ended(client, created.id)
    expect(batch).toMatchObject({
      status: 'completed',
      errors: null,
      request_counts: { total: 23, completed: 22, failed: 1 },
      output_file_id: expect.any(String) as string,
      error_file_id: expect.any(String) as string
    })
    for (const time of [batch.in_progress_at, batch.finalizing_at, batch.completed_at])
      expect(time! - batch.created_at).toBeGreaterThanOrEqual(0)
    const output = await linesAt(client, batch.output_file_id)
    expect(output.map(({ custom_id }) => custom_id)).toEqual(
      lines.slice(0, -1).map((line) => (line as { custom_id: string }).custom_id)
    )
    expect(new Set(output.map(({ id }) => id)).size).toBe(22)
    const now = await client.images.generate({
      prompt: 'the image seeded',
      n: 2,
      output_format: 'webp',
      ...SEEDED
    })
    const { created: _, ...expected } = now
    expect(output[20]).toMatchObject({ response: { status_code: 200, body: expected }, error: null })
    const { url } = output[21]!.response!.body.data![0]!
    expect(await sharp(Buffer.from(url!.replace('data:image/png;base64,', ''), 'base64')).metadata()).toMatchObject({
      width: 64
    })
    // Those without a seed have different ones.
    expect(new Set(output.slice(0, 20).map((line) => fileOf(line).toString('base64'))).size).toBe(20)
    expect(await linesAt(client, batch.error_file_id)).toEqual([
      {
        id: expect.stringMatching(/^batch_req_/) as string,
        custom_id: 'fails',
        response: {
          status_code: 500,
          request_id: `${batch.id}-22`,
          body: { error: expect.objectContaining({ code: 'GENERATION_FAILED', type: 'server_error' }) as object }
        },
        error: null
      }
    ])
    const file = await client.files.retrieve(batch.output_file_id!)
    const text = await (await client.files.content(file.id)).text()
    expect(file).toMatchObject({
      purpose: 'batch_output',
      filename: `${batch.id}_output.jsonl`,
      bytes: Buffer.byteLength(text)
    })
    const outputs = (await client.files.list({ purpose: 'batch_output' })).data.map(({ id }) => id)
    expect(outputs).toEqual(expect.arrayContaining([batch.output_file_id, batch.error_file_id]))
    // Each line is a job, and what is deleted frees its room.
    expect((await fetch(`${server.url}/jobs/${batch.id}-3`)).status).toBe(200)
    const before = await bytesIn(server)
    await client.files.delete(file.id)
    expect(before - (await bytesIn(server))).toBeGreaterThan(22 * 2048)
    expect((await fetch(`${server.url}/jobs/${batch.id}-3`)).status).toBe(404)
    expect((await fetch(`${server.url}/jobs/${batch.id}-22`)).status).toBe(200)
    expect(await linesAt(client, batch.error_file_id)).toHaveLength(1)
    await expect(client.files.content(file.id)).rejects.toMatchObject({ status: 404 })
  })

  it('do not need their file any more once they are in progress', async () => {
    const created = await create(client, numbered(3))
    await until('it is in progress', async () => (await client.batches.retrieve(created.id)).status !== 'validating')
    await client.files.delete(created.input_file_id)
    const batch = await ended(client, created.id)
    expect(batch.request_counts).toEqual({ total: 3, completed: 3, failed: 0 })
    expect(await linesAt(client, batch.output_file_id)).toHaveLength(3)
    expect(batch.error_file_id).toBeNull()
  })

  it('are listed, the newest first, page by page', async () => {
    const ids: string[] = []
    for (const line of numbered(3)) {
      const { id } = await create(client, [line])
      ids.unshift(id)
      const at = Date.now()
      await until('the clock goes on', () => Date.now() > at + 2)
    }
    const listed: string[] = []
    for await (const { id } of client.batches.list({ limit: 2 })) listed.push(id)
    expect(listed.slice(0, 3)).toEqual(ids)
    expect(new Set(listed).size).toBe(listed.length)
    for (const id of ids) await ended(client, id)
    for (const query of ['limit=0', 'after=none'])
      expect((await fetch(`${server.url}/v1/batches?${query}`)).status).toBe(400)
  })

  it('fail with the number of each wrong line, and make nothing', async () => {
    const accepted = server.service.ledger.accepted
    const batch = await ended(
      client,
      (
        await create(client, [
          lineOf('good'),
          '{"custom_id": "x",',
          '',
          lineOf('good'),
          { ...lineOf('url'), url: '/v1/images/edits' },
          lineOf('size', { size: '9999x9999' }),
          lineOf('steps', { num_inference_steps: 99_999 }),
          lineOf('prompt', { prompt: 7 }),
          lineOf('stream', { stream: true }),
          lineOf('control', { controls: [{ name: 'x', image: 'aGVsbG8=' }] }),
          lineOf('model', { model: 'unknown' })
        ])
      ).id
    )
    expect(batch).toMatchObject({ status: 'failed', output_file_id: null, error_file_id: null })
    expect(batch.failed_at).toBeGreaterThan(0)
    expect(batch.errors!.object).toBe('list')
    expect(batch.errors!.data!.map(({ line, code, param }) => [line, code, param])).toEqual([
      [2, 'invalid_json_line', null],
      [4, 'duplicate_custom_id', 'custom_id'],
      [5, 'invalid_url', 'url'],
      [6, 'UNSUPPORTED_SIZE', 'body.size'],
      [7, 'INVALID_REQUEST', 'body.num_inference_steps'],
      [8, 'INVALID_REQUEST', 'body.prompt'],
      [9, 'INVALID_REQUEST', 'body.stream'],
      [10, 'INVALID_REQUEST', 'body.controls'],
      [11, 'MODEL_NOT_FOUND', 'body.model']
    ])
    for (const { message } of batch.errors!.data!) expect(message).toMatch(/\w/)
    expect(server.service.ledger.accepted).toBe(accepted)
    const empty = await ended(client, (await create(client, ['', '  '])).id)
    expect(empty).toMatchObject({ status: 'failed', errors: { data: [{ code: 'empty_file', line: null }] } })
    const many = await ended(
      client,
      (
        await create(
          client,
          Array.from({ length: 200 }, () => 'x')
        )
      ).id
    )
    expect(many.errors!.data).toHaveLength(50)
  })

  it('are refused at once for what is wrong with the request itself', async () => {
    const input_file_id = await upload(client, numbered(1))
    const cases: [object, number, string][] = [
      [{ endpoint: '/v1/images/edits' }, 400, 'endpoint'],
      [{ endpoint: '/v1/chat/completions' }, 400, 'endpoint'],
      [{ completion_window: '1h' }, 400, 'completion_window'],
      [{ input_file_id: 'file-none' }, 404, 'input_file_id'],
      [{ metadata: { a: 7 } }, 400, 'metadata'],
      [{ metadata: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [index, 'x'])) }, 400, 'metadata'],
      [{ output_expires_after: { anchor: 'now', seconds: 1 } }, 400, 'output_expires_after']
    ]
    for (const [change, status, param] of cases) {
      const body = { input_file_id, endpoint: ENDPOINT, completion_window: '24h', ...change } as never
      await expect(client.batches.create(body)).rejects.toMatchObject({ status, param, type: 'invalid_request_error' })
    }
    for (const asked of ['retrieve', 'cancel'] as const)
      await expect(client.batches[asked]('batch_none')).rejects.toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('are created once under an Idempotency-Key', async () => {
    const input_file_id = await upload(client, numbered(1))
    const body = { input_file_id, endpoint: ENDPOINT, completion_window: '24h' } as const
    const headers = { 'idempotency-key': `one ${where}`.replace(' ', '-') }
    const first = await client.batches.create(body, { headers })
    const again = await client.batches.create(body, { headers }).withResponse()
    expect([again.data.id, again.response.headers.get('idempotent-replayed')]).toEqual([first.id, 'true'])
    await expect(client.batches.create({ ...body, metadata: { a: 'b' } }, { headers })).rejects.toMatchObject({
      status: 422
    })
    await client.files.delete(input_file_id)
    expect((await client.batches.create(body, { headers })).id).toBe(first.id)
  })

  it('are cancelled: what was made can be read, the rest is told, and rows are free', async () => {
    const quick = numbered(2)
    const slow = Array.from({ length: 300 }, (_, index) =>
      lineOf(`slow-${index}`, { num_inference_steps: 1000, guidance_scale: 1 })
    )
    const { id } = await create(client, [...quick, ...slow])
    await until('some are made', async () => (await client.batches.retrieve(id)).request_counts!.completed >= 2)
    await until('others run', () => server.service.ledger.inFlight > 0)
    const cancelling = await client.batches.cancel(id)
    expect(cancelling.status).toBe('cancelling')
    expect(cancelling.cancelling_at).toBeGreaterThan(0)
    const batch = await ended(client, id)
    expect(batch).toMatchObject({ status: 'cancelled', request_counts: { total: 302 } })
    const { completed, failed } = batch.request_counts!
    expect(batch.cancelled_at).toBeGreaterThanOrEqual(batch.cancelling_at!)
    const output = await linesAt(client, batch.output_file_id)
    expect(output).toHaveLength(completed)
    expect(output.slice(0, 2).map(({ custom_id }) => custom_id)).toEqual(['line-0', 'line-1'])
    const errors = await linesAt(client, batch.error_file_id)
    expect(errors).toHaveLength(failed)
    expect(completed + failed).toBe(302)
    expect(failed).toBeGreaterThan(200)
    for (const { response, error } of errors) expect([response, error!.code]).toEqual([null, 'batch_cancelled'])
    await until('its rows are free', () => server.service.ledger.inFlight === 0)
    expect((await client.batches.cancel(id)).status).toBe('cancelled')
  })
})

describe('a batch', () => {
  it('waits for a worker, and its lines are checked again then', async () => {
    const server = await startServer({ WORKER: 'connect' })
    const client = clientOf(server)
    const { id } = await create(client, [lineOf('a'), lineOf('b', { size: '32x48' }), lineOf('c')])
    await until('its lines were read', async () => (await client.batches.retrieve(id)).status === 'in_progress')
    expect((await client.batches.retrieve(id)).request_counts).toEqual({ total: 3, completed: 0, failed: 0 })
    startWorker(server.endpoint, 'late')
    const batch = await ended(client, id)
    expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 3, completed: 2, failed: 1 } })
    expect((await linesAt(client, batch.output_file_id)).map(({ custom_id }) => custom_id)).toEqual(['a', 'c'])
    expect(await linesAt(client, batch.error_file_id)).toMatchObject([
      {
        custom_id: 'b',
        response: { status_code: 400, body: { error: { code: 'UNSUPPORTED_SIZE', param: 'size' } } },
        error: null
      }
    ])
  })

  it('expires after JOB_TIMEOUT, if that is less than a day', async () => {
    const server = await startReadyServer({ JOB_TIMEOUT: '3' })
    const client = clientOf(server)
    const slow = { num_inference_steps: 1000, guidance_scale: 1 }
    const lines = [...numbered(2), ...Array.from({ length: 30 }, (_, index) => lineOf(`slow-${index}`, slow))]
    const created = await create(client, lines)
    expect(created.expires_at! - created.created_at).toBeLessThanOrEqual(4)
    const batch = await ended(client, created.id)
    expect(batch.status).toBe('expired')
    expect(batch.expired_at).toBeGreaterThanOrEqual(batch.expires_at!)
    const { completed, failed } = batch.request_counts!
    expect(completed + failed).toBe(32)
    expect(completed).toBeGreaterThanOrEqual(2)
    expect(await linesAt(client, batch.output_file_id)).toHaveLength(completed)
    const errors = await linesAt(client, batch.error_file_id)
    expect(errors).toHaveLength(failed)
    for (const { error } of errors) expect(error!.code).toBe('batch_expired')
    expect(await metric(server, 'easel_batches_ended_total', 'status="expired"')).toBe(1)
  })

  it('with more lines or images than the store takes is refused with the limit', async () => {
    const server = await startReadyServer({ JOB_LIMIT: '10', JOB_BYTES: '1048576' })
    const client = clientOf(server)
    await expect(create(client, numbered(11))).rejects.toMatchObject({
      status: 400,
      code: 'LIMIT_EXCEEDED',
      param: 'input_file_id',
      message: expect.stringMatching(/11 lines.*10.*JOB_LIMIT/) as string
    })
    const large = await ended(client, (await create(client, numbered(10, { n: 8 }))).id)
    expect(large.errors!.data).toMatchObject([
      { code: 'LIMIT_EXCEEDED', message: expect.stringContaining('JOB_BYTES') as string }
    ])
    // Others have filled the store: the batch waits, and goes on when there is room.
    for (let index = 0; index < 8; index++)
      await fetch(`${server.url}/jobs/other-${index}`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', num_inference_steps: 2 })
      })
    const { id } = await create(client, numbered(5))
    await until('it waits', () => server.logs.some(({ msg }) => msg.startsWith('a batch waits for room')))
    await until('two are made', async () => (await client.batches.retrieve(id)).request_counts!.completed === 2)
    for (let index = 0; index < 8; index++) await fetch(`${server.url}/jobs/other-${index}`, { method: 'DELETE' })
    expect((await ended(client, id)).request_counts).toEqual({ total: 5, completed: 5, failed: 0 })
  })

  it('and its results are forgotten JOB_TTL after its end, or earlier if its client says so', async () => {
    const server = await startReadyServer({ JOB_TTL: '3', JOB_CLAIM_TIMEOUT: '0.3' })
    const client = clientOf(server)
    const batch = await ended(client, (await create(client, numbered(2))).id)
    const { expires_at, created_at } = await client.files.retrieve(batch.output_file_id!)
    expect(expires_at! - created_at).toBeLessThanOrEqual(3)
    const short = { output_expires_after: { anchor: 'created_at', seconds: 1 } } as const
    const other = await ended(client, (await create(client, numbered(2), short)).id)
    const { expires_at: earlier, created_at: at } = await client.files.retrieve(other.output_file_id!)
    expect(earlier! - at).toBeLessThanOrEqual(1)
    await until('all are forgotten', async () => (await bytesIn(server)) === 0)
    await expect(client.batches.retrieve(batch.id)).rejects.toMatchObject({ status: 404 })
  })

  it('answers URLs where images are stored, which are made when they are read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const server = await startReadyServer({ RESULTS: `file://${folder}` })
    const client = clientOf(server)
    const lines = [lineOf('url', { seed: 3, n: 2, response_format: 'url' }), lineOf('bytes', { seed: 3 })]
    const batch = await ended(client, (await create(client, lines)).id)
    expect(batch.request_counts).toEqual({ total: 2, completed: 2, failed: 0 })
    const [urls, bytes] = await linesAt(client, batch.output_file_id)
    const files = await Promise.all(
      urls!.response!.body.data!.map(async ({ url }) => {
        expect(url).toMatch(`${server.url}/`)
        const response = await fetch(url!)
        expect(response.status).toBe(200)
        return Buffer.from(await response.arrayBuffer())
      })
    )
    expect(await sharp(files[1]).metadata()).toMatchObject({ format: 'png', width: 64 })
    expect(await sharp(fileOf(bytes!)).metadata()).toMatchObject({ format: 'png', width: 64 })
    await client.files.delete(batch.output_file_id!)
    await until('the files are deleted', async () => {
      const { url } = urls!.response!.body.data![0]!
      return (await fetch(url!)).status === 404
    })
  })

  it("is seen by its own key only, and has the key's limits", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const [mine, theirs] = ['a-key-for-this-test-only', 'another-key-for-this-test']
    const keys = [
      { name: 'mine', key: mine, concurrent_requests: 1, batch_only: true },
      { name: 'theirs', key: theirs }
    ]
    await writeFile(join(folder, 'keys.json'), JSON.stringify({ keys }))
    const server = await startReadyServer({
      ACCESS_KEYS: join(folder, 'keys.json'),
      JOB_LIMIT: '10',
      WORKER_ARGS: '--fake-step-ms 10'
    })
    const [one, other] = [clientOf(server, mine), clientOf(server, theirs)]
    await expect(create(one, numbered(6))).rejects.toMatchObject({
      message: expect.stringContaining('half of JOB_LIMIT') as string
    })
    const { id, input_file_id } = await create(one, numbered(4, { num_inference_steps: 10 }))
    await expect(other.batches.retrieve(id)).rejects.toMatchObject({ status: 404 })
    await expect(other.batches.cancel(id)).rejects.toMatchObject({ status: 404 })
    expect((await other.batches.list()).data).toEqual([])
    await expect(
      other.batches.create({ input_file_id, endpoint: ENDPOINT, completion_window: '24h' })
    ).rejects.toMatchObject({ status: 404 })
    let most = 0
    await until('it has ended', async () => {
      most = Math.max(most, server.service.ledger.inFlight)
      return (await one.batches.retrieve(id)).status === 'completed'
    })
    expect(most).toBe(1)
    const { output_file_id } = await one.batches.retrieve(id)
    await expect(other.files.content(output_file_id!)).rejects.toMatchObject({ status: 404 })
    expect(await linesAt(one, output_file_id!)).toHaveLength(4)
  })
})
