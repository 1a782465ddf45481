import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type OpenAI from 'openai'
import { expect, it, onTestFinished } from 'vitest'
import type { BatchWebhook } from '../../src/schemas/batch-webhook.js'
import type { JobWebhook } from '../../src/schemas/job-webhook.js'
import { clientOf, create, ended, lineOf, upload } from '../support/batches.js'
import { type Receiver, secretOf, startReceiver, status } from '../support/receiver.js'
import { eventsOf, secrets, sending } from '../support/sending.js'
import { metric, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

type More = Partial<OpenAI.BatchCreateParams>
const told = (webhook: string, more: object = {}) => ({ webhook, ...more }) as More

const batchEvents = (receiver: Receiver, secret?: string) => eventsOf<BatchWebhook>(receiver, secret)

it('a batch’s end is told as OpenAI tells it, with the batch as its owner sees it', async () => {
  const receiver = await startReceiver()
  const server = await sending([receiver])
  const client = clientOf(server)
  const { id } = await create(
    client,
    [lineOf('a'), lineOf('b')],
    told(`${receiver.url}/in/path-of-theirs?token=token-of-theirs`, { metadata: { order: '17' } })
  )
  await until('it is told', () => receiver.got.length > 0)
  const [{ path, headers, body }] = receiver.got as [Receiver['got'][0]]
  expect(path).toBe('/in/path-of-theirs?token=token-of-theirs')
  // OpenAI's client verifies and reads it.
  const event = await client.webhooks.unwrap(body, headers, secrets[0]!)
  const batch = await client.batches.retrieve(id)
  expect(batch).toMatchObject({ status: 'completed', request_counts: { total: 2, completed: 2 } })
  expect(event).toEqual({
    id: headers['webhook-id'],
    object: 'event',
    created_at: batch.completed_at,
    type: 'batch.completed',
    timestamp: expect.stringMatching(/^\d{4}-.*Z$/) as string,
    data: batch
  })
  for (const secret of secrets) expect(batchEvents(receiver, secret)).toHaveLength(1)
  expect(() => batchEvents(receiver, secretOf(3))).toThrow()
  await until('it is counted', async () => (await metric(server, 'easel_webhooks_total', 'delivered')) === 1)
  expect(server.logs.filter(({ msg }) => msg.includes('webhook'))).toMatchObject([{ batch: id, to: receiver.url }])
  for (const secret of ['path-of-theirs', 'token-of-theirs', ...secrets])
    expect(JSON.stringify(server.logs)).not.toContain(secret)
  expect(receiver.got).toHaveLength(1)
})

it('a batch’s end is sent again, with the same id, until it is taken', async () => {
  const receiver = await startReceiver((response, nth) =>
    status(nth === 1 ? 503 : 200, nth === 1 ? { 'retry-after': '1' } : {})(response)
  )
  const server = await sending([receiver])
  await create(clientOf(server), [lineOf('wrong', { n: 0 })], told(receiver.url))
  await until('it is taken', () => receiver.got.length === 2)
  expect(new Set(receiver.got.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  expect(new Set(receiver.got.map(({ body }) => body)).size).toBe(1)
  expect(batchEvents(receiver)[0]).toMatchObject({
    type: 'batch.failed',
    data: { errors: { data: [{ line: 1, param: 'body.n' }] } }
  })
})

it('a repeated submission is the same batch, with the webhook of the first', async () => {
  const [first, other] = [await startReceiver(), await startReceiver()]
  const server = await sending([first, other])
  const client = clientOf(server)
  const input_file_id = await upload(client, [lineOf('a')])
  const body = { input_file_id, endpoint: '/v1/images/generations', completion_window: '24h' } as const
  const submit = ({ url }: Receiver) =>
    client.batches.create({ ...body, ...told(url) }, { headers: { 'idempotency-key': 'mine' } })
  const [one, same] = [await submit(first), await submit(other)]
  expect(same.id).toBe(one.id)
  await until('it is told', () => first.got.length === 1)
  expect(batchEvents(first)[0]!.data.id).toBe(one.id)
  expect(other.got).toEqual([])
})

it('a batch is refused whose webhook may not go there, and by a server that sends none', async () => {
  const receiver = await startReceiver()
  const server = await sending([receiver])
  const refused = (webhook: string, to = server) =>
    create(clientOf(to), [lineOf('a')], told(webhook)).catch((error: unknown) => error)
  const webhook = 'https://hooks.example.com/'
  expect(await refused(webhook)).toMatchObject({
    status: 403,
    code: 'WEBHOOK_NOT_ALLOWED',
    param: 'webhook',
    message: expect.stringContaining('WEBHOOK_HOSTS') as string
  })
  expect(await refused('nowhere')).toMatchObject({ status: 400, code: 'INVALID_REQUEST', param: 'webhook' })
  expect(await refused(receiver.url, await startReadyServer())).toMatchObject({ code: 'WEBHOOK_NOT_ALLOWED' })
  expect(await clientOf(server).batches.list()).toMatchObject({ data: [] })
})

it('a batch’s webhook goes where its own key may send, signed with its secret, and to no private address', async () => {
  const [mine, hidden] = [await startReceiver(), await startReceiver()]
  const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'keys.json')
  const keys = [
    { name: 'a', key: 'the-secret-of-team-a', webhook_hosts: [mine.url], webhook_secrets: [secretOf(9)] },
    { name: 'b', key: 'the-secret-of-team-b', webhook_hosts: [hidden.url] }
  ]
  await writeFile(file, JSON.stringify({ keys }))
  const env = { ACCESS_KEYS: file, WEBHOOK_SECRETS: secretOf(1) }
  const server = await startReadyServer({ ...env, WEBHOOK_NETWORKS: '127.0.0.0/8' })
  const client = clientOf(server, 'the-secret-of-team-a')
  const { id } = await create(client, [lineOf('a')], told(mine.url))
  const elsewhere = create(client, [lineOf('a')], told(hidden.url))
  await expect(elsewhere).rejects.toThrow(/webhook_hosts of the key a/)
  await until('it is told', () => mine.got.length === 1)
  expect(batchEvents(mine, secretOf(9))[0]!.data.id).toBe(id)
  expect(() => batchEvents(mine, secretOf(1))).toThrow()
  const guarded = await startReadyServer(env)
  await create(clientOf(guarded, 'the-secret-of-team-b'), [lineOf('b')], told(hidden.url))
  const failed = () => guarded.logs.find(({ msg }) => msg.startsWith('a webhook failed'))
  await until('it is refused', () => failed() !== undefined)
  expect(failed()).toMatchObject({ why: expect.stringContaining('WEBHOOK_NETWORKS') as string })
  expect(hidden.got).toEqual([])
})

it('a line’s webhook is told of its own job, and one that may not go there makes the batch fail', async () => {
  const receiver = await startReceiver()
  const server = await sending([receiver], { WORKER_ARGS: '--fake-faults raise:13@2' })
  const client = clientOf(server)
  const webhook = (line: string) => ({ webhook: `${receiver.url}/${line}` })
  const { id } = await create(client, [
    lineOf('made', webhook('made')),
    lineOf('fails', { ...webhook('fails'), seed: 13, num_inference_steps: 4 }),
    lineOf('without')
  ])
  expect(await ended(client, id)).toMatchObject({ status: 'completed', request_counts: { completed: 2, failed: 1 } })
  await until('both are told', () => receiver.got.length === 2)
  const events = eventsOf<JobWebhook>(receiver)
  const got = receiver.got.map(({ path }, index) => [path, events[index]!.type, events[index]!.data.id])
  expect(got.toSorted()).toEqual([
    ['/fails', 'job.failed', `${id}-1`],
    ['/made', 'job.succeeded', `${id}-0`]
  ])
  const refused = await create(client, [lineOf('a'), lineOf('b', { webhook: 'https://hooks.example.com/' })])
  expect((await ended(client, refused.id)).errors!.data).toEqual([
    {
      code: 'WEBHOOK_NOT_ALLOWED',
      message: expect.stringContaining('WEBHOOK_HOSTS') as string,
      param: 'body.webhook',
      line: 2
    }
  ])
})
