import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { expect, it, onTestFinished } from 'vitest'
import { clientOf, create, lineOf } from '../support/batches.js'
import { type Received, type Receiver, startReceiver } from '../support/receiver.js'
import { eventsOf, putJob, sending } from '../support/sending.js'
import { type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

interface Parameter {
  name: string
  in: string
  required?: boolean
  description?: string
}
interface Told {
  post: {
    parameters: Parameter[]
    requestBody: { required: boolean; content: Record<string, { schema: { $ref: string } }> }
    responses: Record<string, unknown>
  }
}
interface Document {
  webhooks: Record<string, Told>
  components: { schemas: Record<string, { properties: Record<string, { enum?: string[] }> }> }
}

/** https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md */
const HEADERS = ['webhook-id', 'webhook-signature', 'webhook-timestamp']

const documentOf = async ({ url }: RunningServer, path = '/openapi.json') =>
  (await (await fetch(url + path)).json()) as Document

/** A schema that refuses fields it does not name, so that none is sent which the document does not have. */
function closed(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closed)
  if (typeof schema !== 'object' || schema === null) return schema
  const all = Object.fromEntries(Object.entries(schema).map(([name, value]) => [name, closed(value)]))
  return 'properties' in all && !('additionalProperties' in all) ? { ...all, additionalProperties: false } : all
}

/** What the document says of the body of a webhook. */
function bodySchema(document: Document, name: string): ValidateFunction {
  const { $ref } = document.webhooks[name]!.post.requestBody.content['application/json']!.schema
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  return ajv.addSchema(closed(document) as object, 'document').compile({ $ref: `document${$ref}` })
}

function typesOf({ webhooks, components }: Document, name: string): string[] {
  const { $ref } = webhooks[name]!.post.requestBody.content['application/json']!.schema
  return components.schemas[$ref.split('/').at(-1)!]!.properties['type']!.enum!
}

/** Whether what was sent is what the document says. */
function expectAsDescribed(document: Document, name: string, { got }: Receiver) {
  const valid = bodySchema(document, name)
  const { parameters } = document.webhooks[name]!.post
  for (const { body, headers } of got) {
    valid(JSON.parse(body))
    expect(valid.errors ?? [], body).toEqual([])
    for (const { name: header } of parameters) expect(headers[header], header).toMatch(/\S/)
    expect(headers['content-type']).toBe('application/json')
  }
  // The schema tells one from another.
  const [{ body }] = got as [Received]
  expect(valid({ ...(JSON.parse(body) as object), type: 'job.lost' })).toBe(false)
  expect(valid({ ...(JSON.parse(body) as object), more: 1 })).toBe(false)
}

it('the document has each webhook with its types, its body and the headers of Standard Webhooks', async () => {
  const server = await sending([await startReceiver()])
  for (const path of ['/openapi.json', '/docs/json']) {
    const document = await documentOf(server, path)
    expect(Object.keys(document.webhooks)).toEqual(['job', 'batch'])
    expect(typesOf(document, 'job')).toEqual(['job.succeeded', 'job.failed', 'job.cancelled', 'job.expired'])
    expect(typesOf(document, 'batch')).toEqual(['batch.completed', 'batch.failed', 'batch.cancelled', 'batch.expired'])
    for (const { post } of Object.values(document.webhooks)) {
      expect(post.parameters.map(({ name }) => name).toSorted()).toEqual(HEADERS)
      for (const parameter of post.parameters)
        expect(parameter).toMatchObject({ in: 'header', required: true, description: expect.any(String) as string })
      expect(post.requestBody.required).toBe(true)
      expect(Object.keys(post.requestBody.content)).toEqual(['application/json'])
      expect(Object.keys(post.responses).toSorted()).toEqual(['2XX', '410'])
    }
  }
})

it('what is sent of a job is what the document says, whichever end it has', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-results-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const receiver = await startReceiver()
  const webhook = receiver.url
  const server = await sending([receiver], {
    RESULTS: `file://${folder}`,
    JOB_CLAIM_TIMEOUT: '0.6',
    WORKER_ARGS: '--fake-step-ms 10'
  })
  const slow = { prompt: 'x', num_inference_steps: 1000, guidance_scale: 1 }
  await putJob(server, 'succeeded', { prompt: '((weights)) that are not read', num_images: 2, webhook })
  await putJob(server, 'failed', { prompt: 'x', image: Buffer.from('none').toString('base64'), webhook })
  await putJob(server, 'expired', { ...slow, timeout: 0.5, webhook })
  await putJob(server, 'cancelled', { ...slow, webhook })
  await fetch(`${server.url}/jobs/cancelled`, { method: 'DELETE' })
  await until('all are told', () => receiver.got.length === 4)
  const document = await documentOf(server)
  const types = eventsOf<{ type: string }>(receiver).map(({ type }) => type)
  expect(types.toSorted()).toEqual(typesOf(document, 'job').toSorted())
  expectAsDescribed(document, 'job', receiver)
})

it('what is sent of a batch is what the document says, whichever end it has', async () => {
  const receiver = await startReceiver()
  const webhook = receiver.url
  const server = await sending([receiver])
  const more = { webhook, metadata: { order: '17' } } as object
  await create(clientOf(server), [lineOf('quick')], more)
  await create(clientOf(server), [lineOf('wrong', { n: 0 })], { webhook } as object)
  // Nothing is made without a worker.
  const late = await sending([receiver], { WORKER: 'connect', JOB_TIMEOUT: '1' }, startServer)
  await create(clientOf(late), [lineOf('late')], more)
  const idle = clientOf(await sending([receiver], { WORKER: 'connect' }, startServer))
  const { id } = await create(idle, [lineOf('cancelled')], more)
  await idle.batches.cancel(id)
  await until('all are told', () => receiver.got.length === 4)
  const document = await documentOf(server)
  const types = eventsOf<{ type: string }>(receiver).map(({ type }) => type)
  expect(types.toSorted()).toEqual(typesOf(document, 'batch').toSorted())
  expectAsDescribed(document, 'batch', receiver)
})
