import { expect, it } from 'vitest'
import { generate, running, startReadyServer } from '../support/server.js'

it('a full size does not block another size, which has its own rows', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--rows 2 --fake-step-ms 5' })
  const controller = new AbortController()
  const large = { prompt: 'x', width: 64, height: 64, num_inference_steps: 1000 }
  // One of these runs and one waits at the worker; it gets no more of this size in advance.
  const full = [1, 2, 3].map(() => generate(server, large, { signal: controller.signal }))
  await running(server, 2)
  const other = await generate(server, { prompt: 'x', width: 32, height: 48, num_inference_steps: 3 })
  expect(other.status).toBe(200)
  expect(server.service.ledger.inFlight).toBe(3)
  controller.abort()
  for (const request of full) await expect(request).rejects.toThrow()
})
