import { describe, expect, it } from 'vitest'
import { type RunningServer, shareServer, startServer } from '../support/server.js'

let server: RunningServer
shareServer((ready) => (server = ready))

const ask = (method: string, path: string) => fetch(`${server.url}${path}`, { method })

describe('a known path with an unsupported method', () => {
  it.each([
    ['GET', '/generate', 'POST'],
    ['PUT', '/generate?a=b', 'POST'],
    ['POST', '/health', 'GET, HEAD'],
    ['PROPFIND', '/health/live', 'GET, HEAD'],
    ['OPTIONS', '/health', 'GET, HEAD'],
    ['GET', '/requests/some.id~1', 'DELETE'],
    ['POST', '/requests/some-id/events', 'GET, HEAD'],
    ['POST', '/docs/static/swagger-ui.css', 'GET, HEAD'],
    ['DELETE', '/', 'GET, HEAD']
  ])('%s %s gets 405 with Allow', async (method, path, allow) => {
    const answer = await ask(method, path)
    expect(answer.status).toBe(405)
    expect(answer.headers.get('allow')).toBe(allow)
    expect(answer.headers.get('x-request-id')).toMatch(/./)
    const bare = path.split('?')[0]
    expect(await answer.json()).toMatchObject({
      statusCode: 405,
      code: 'METHOD_NOT_ALLOWED',
      error: 'Method Not Allowed',
      message: `There is no ${method} ${bare}, only ${allow}`
    })
  })

  it.each([
    ['POST', '/health', 405, 'application/json', '{'],
    ['POST', '/nothing', 404, 'application/json', '{'],
    ['POST', '/health', 405, 'text/xml', '<a/>'],
    ['QUERY', '/health', 405, undefined, '']
  ])('is reported whatever else is wrong with the body: %s %s', async (method, path, status, type, body) => {
    const request = { method, body, headers: type === undefined ? {} : { 'content-type': type } }
    expect((await fetch(`${server.url}${path}`, request)).status).toBe(status)
  })

  it('gets 405 without a body for HEAD', async () => {
    const answer = await ask('HEAD', '/generate')
    expect([answer.status, answer.headers.get('allow'), await answer.text()]).toEqual([405, 'POST', ''])
  })

  it("gets OpenAI's error form under /v1", async () => {
    const answer = await ask('GET', '/v1/images/generations')
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'POST'])
    expect(await answer.json()).toMatchObject({ error: { code: 'METHOD_NOT_ALLOWED', type: 'invalid_request_error' } })
    expect((await ask('PATCH', '/v1/models/any')).headers.get('allow')).toBe('GET, HEAD')
  })
})

it.each(['/nothing', '/generatex', '/requests', '/requests/a/b', '/healthXlive'])(
  '%s gets 404 with any method',
  async (path) => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const answer = await ask(method, path)
      expect([answer.status, answer.headers.get('allow')]).toEqual([404, null])
      expect(await answer.json()).toMatchObject({ code: 'NOT_FOUND' })
    }
  }
)

it('a missing static file gets 404 without Allow', async () => {
  const answer = await ask('GET', '/docs/static/nothing.js')
  expect([answer.status, answer.headers.get('allow')]).toEqual([404, null])
})

it('CORS preflight routes do not make unknown paths known', async () => {
  const open = await startServer({ CORS_ORIGINS: 'https://example.org' })
  expect((await fetch(`${open.url}/nothing`)).status).toBe(404)
  expect((await fetch(`${open.url}/generate`)).headers.get('allow')).toBe('POST')
  expect(
    (
      await fetch(`${open.url}/generate`, {
        method: 'OPTIONS',
        headers: { origin: 'https://example.org', 'access-control-request-method': 'POST' }
      })
    ).status
  ).toBe(204)
})
