import { expect, it } from 'vitest'
import { startReadyServer } from '../support/server.js'
import { startWeb } from '../support/web.js'

const TRIES = 20

/** Sends a request that is refused while its body is still being sent. */
async function refused(url: string): Promise<{ status: number; code: string }> {
  const body = JSON.stringify({ prompt: 'x'.repeat(400_000) })
  const response = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body
  })
  return { status: response.status, code: ((await response.json()) as { code: string }).code }
}

it('a body above the limit always gets 413, even while most of it is unsent', async () => {
  const server = await startReadyServer({ BODY_LIMIT: '4096' })
  for (let attempt = 0; attempt < TRIES; attempt++)
    expect(await refused(server.url)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' })
})

it('a long file that is not an image always gets its 400', async () => {
  const server = await startReadyServer()
  const file = new Uint8Array(16 * 2 ** 20)
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const response = await fetch(`${server.url}/recipe`, {
      method: 'POST',
      headers: { 'content-type': 'image/png' },
      body: file
    })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ code: 'INVALID_REQUEST' })
  }
})

it("the page's process forwards an early 413", async () => {
  const server = await startReadyServer({ BODY_LIMIT: '4096' })
  const web = await startWeb(server.url)
  for (let attempt = 0; attempt < TRIES; attempt++)
    expect(await refused(web.url)).toEqual({ status: 413, code: 'BODY_TOO_LARGE' })
})

it("the page's process forwards x-request-timeout and HEAD /health", async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
  const web = await startWeb(server.url)
  expect((await fetch(`${web.url}/health`, { method: 'HEAD' })).status).toBe(200)
  const late = await fetch(`${web.url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-request-timeout': '0.2' },
    body: JSON.stringify({ prompt: 'x', num_inference_steps: 1000 })
  })
  expect(late.status).toBeGreaterThanOrEqual(503)
})
