import type { FastifyInstance } from 'fastify'
import { expect, it } from 'vitest'
import { startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWeb } from '../support/web.js'
import { RawClient, rawGenerate } from './raw-client.js'

it.each(['gateway', 'page'] as const)(
  '%s: a request sent while the server closes gets 503 in the common error form',
  async (name) => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 10' })
    const side: { url: string; app: FastifyInstance } = name === 'gateway' ? server : await startWeb(server.url)
    const client = new RawClient(side)
    await client.write(rawGenerate({ prompt: 'x', num_inference_steps: 50 }))
    await until('the request runs', () => server.service.ledger.inFlight === 1)
    const closed = side.app.close()
    await client.write('GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n')
    expect((await client.answer())?.status).toBe(200)
    const refusal = await client.answer()
    expect(refusal).toMatchObject({ status: 503, headers: { connection: 'close', 'retry-after': '5' } })
    expect(JSON.parse(refusal!.body.toString())).toMatchObject({
      code: 'DRAINING',
      requestId: refusal!.headers['x-request-id']
    })
    await closed
  }
)
