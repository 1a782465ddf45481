import { Validator } from '@seriousme/openapi-schema-validator'
import type { FastifyInstance } from 'fastify'
import { beforeAll, describe, expect, it } from 'vitest'
import { catalogue } from '../src/errors.js'
import { type RunningServer, shareServer, startReadyServer } from './support/server.js'

interface Media {
  schema?: object
  example?: unknown
  examples?: Record<string, { value: unknown }>
}
interface Operation {
  summary?: string
  tags?: string[]
  parameters?: { name: string; in: string; description?: string }[]
  requestBody?: { content: Record<string, Media> }
  responses: Record<
    string,
    { description?: string; headers?: Record<string, { description?: string }>; content?: Record<string, Media> }
  >
}

let server: RunningServer
let paths: Record<string, Record<string, Operation>>

shareServer((ready) => (server = ready))
beforeAll(async () => {
  ;({ paths } = (await (await fetch(`${server.url}/openapi.json`)).json()) as { paths: typeof paths })
})

/** Routes for browsers, which the document omits. */
const PAGES = /^\/(docs|assets|openapi\.json)|^\/[\w.-]*\.(html|svg|png|ico|webmanifest|txt)$|^\/$/

/** Every route of the application as `METHOD /path`, from the router. */
function routesOf(app: FastifyInstance): string[] {
  const parents: string[] = []
  return app
    .printRoutes({ commonPrefix: false })
    .split('\n')
    .flatMap((line) => {
      const match = /^([│ ]*)[├└]── (\S+)(?: \(([A-Z, ]+)\))?/.exec(line)
      if (match === null) return []
      const depth = match[1]!.length / 4
      parents.length = depth
      parents.push(match[2]!)
      const path = parents.join('').replaceAll(/:(\w+)/g, '{$1}')
      const methods = (match[3] ?? '')
        .split(', ')
        .filter((method) => method !== '' && method !== 'HEAD' && method !== 'OPTIONS')
      return PAGES.test(path) ? [] : methods.map((method) => `${method} ${path}`)
    })
}

function operations(): [name: string, operation: Operation][] {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]): [string, Operation] => [
      `${method.toUpperCase()} ${path}`,
      operation
    ])
  )
}

describe('/openapi.json', () => {
  it('is a valid OpenAPI 3.1 document', async () => {
    const document = (await (await fetch(`${server.url}/openapi.json`)).json()) as object
    const validator = new Validator()
    const { valid, errors } = await validator.validate(document as Record<string, unknown>)
    expect(errors ?? []).toEqual([])
    expect(valid).toBe(true)
    expect(validator.version).toBe('3.1')
  })

  it('has exactly the routes of the application', () => {
    const routes = routesOf(server.app)
    expect(routes).toContain('POST /generate')
    expect(
      operations()
        .map(([name]) => name)
        .toSorted()
    ).toEqual(routes.toSorted())
  })

  it('describes every route, its input and its answers, with examples', () => {
    for (const [name, { summary, tags, parameters = [], responses }] of operations()) {
      expect(summary, name).toMatch(/\w/)
      expect(tags, name).toHaveLength(1)
      for (const parameter of parameters) expect(parameter.description, `${name} ${parameter.name}`).toMatch(/\w/)
      const statuses = Object.keys(responses)
      expect(
        statuses.some((status) => status.startsWith('2')),
        name
      ).toBe(true)
      expect(statuses, name).toContain('500')
      for (const [status, { description, headers = {}, content = {} }] of Object.entries(responses)) {
        const where = `${name} ${status}`
        expect(description, where).toMatch(/\w/)
        expect(Object.keys(headers), where).toContain('x-request-id')
        for (const header of Object.values(headers)) expect(header.description, where).toMatch(/\w/)
        if (status === '429') expect(Object.keys(headers), where).toContain('retry-after')
        for (const [type, { schema, example, examples }] of Object.entries(content)) {
          expect(schema, `${where} ${type}`).toBeDefined()
          if (type === 'application/json')
            expect(example ?? Object.keys(examples ?? {})[0], `${where} has an example`).toBeDefined()
        }
      }
    }
  })

  it('lists every error code of the catalogue under its status', () => {
    const seen = new Map<string, string>()
    for (const [, { responses }] of operations()) {
      for (const [status, { content = {} }] of Object.entries(responses)) {
        for (const code of Object.keys(content['application/json']?.examples ?? {})) seen.set(code, status)
      }
    }
    for (const [code, { status }] of Object.entries(catalogue)) expect(seen.get(code), code).toBe(String(status))
  })
})

describe('/docs', () => {
  it('loads nothing from other origins', async () => {
    const response = await fetch(`${server.url}/docs`)
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/html/)
    expect(response.headers.get('content-security-policy')).toMatch(/default-src 'self'/)
    expect(await response.text()).not.toMatch(/(src|href)="(https?:)?\/\//)
  })
})

describe('for client generators', () => {
  it('every operation has a unique name', () => {
    const names = Object.values(paths).flatMap((methods) =>
      Object.values(methods).map((operation) => (operation as { operationId?: string }).operationId)
    )
    expect(names).not.toContain(undefined)
    expect(new Set(names).size).toBe(names.length)
  })

  it('the first answer of POST /generate is binary and can be requested', async () => {
    const content = paths['/generate']!['post']!.responses['200']!.content!
    expect(Object.keys(content)[0]).toBe('application/octet-stream')
    expect(content['application/octet-stream']!.schema).toEqual({ type: 'string', format: 'binary' })
    const answer = await fetch(`${server.url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/octet-stream' },
      body: '{"prompt":"x"}'
    })
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/png'])
    const recipe = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: await answer.arrayBuffer()
    })
    expect(recipe.status).toBe(200)
  })

  it('no request schema allows more than the workers accept', async () => {
    const { components } = (await (await fetch(`${server.url}/openapi.json`)).json()) as {
      components: { schemas: Record<string, { properties: Record<string, { maximum?: number; enum?: unknown[] }> }> }
    }
    const { limits, schedulers } = server.pool.defaultModel.capabilities!
    for (const [schema, images] of [
      ['GenerateRequest', 'num_images'],
      ['OpenAiImagesRequest', 'n']
    ] as const) {
      const { properties } = components.schemas[schema]!
      expect(properties['num_inference_steps']!.maximum).toBe(Math.min(1000, limits.max_steps))
      expect(properties['guidance_scale']!.maximum).toBe(limits.max_guidance_scale)
      expect(properties[images]!.maximum).toBe(limits.max_images)
      expect(properties['scheduler']!.enum).toEqual(expect.arrayContaining(schedulers))
    }
    const body = {
      prompt: 'x',
      num_inference_steps: components.schemas['GenerateRequest']!.properties['num_inference_steps']!.maximum! + 1
    }
    expect(
      (
        await fetch(`${server.url}/generate`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body)
        })
      ).status
    ).toBe(400)
  })
})

it('links to the documents from GET /health, only on the port that has them', async () => {
  const server = await startReadyServer({ ADMIN_PORT: '0' })
  const admin = await server.admin!.listen({ host: '127.0.0.1', port: 0 })
  const link = async (address: string) => (await fetch(`${address}/health`)).headers.get('link')
  expect(await link(server.url)).toBe('<docs>; rel="service-doc", <openapi.json>; rel="service-desc"')
  expect(await link(admin)).toBeNull()
  for (const path of ['docs', 'openapi.json']) expect((await fetch(`${server.url}/${path}`)).status).toBe(200)
})
