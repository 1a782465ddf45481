import { expect, it } from 'vitest'
import { generate, metric, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

it.each([
  ['encode', 'text_encoder', 'text_encoder'],
  ['3', 'denoise', 'step 3 of 5'],
  ['5', 'denoise', 'step 5 of 5'],
  ['decode', 'decode', 'the decoder']
])(
  'an image with NaN at %s fails and the error names the stage; its neighbour in the batch succeeds',
  async (at, stage, said) => {
    const server = await startReadyServer({ WORKER_ARGS: `--fake-step-ms 20 --fake-faults nan:13@${at}` })
    const good = { prompt: 'x', seed: 5, num_inference_steps: 5 }
    const alone = Buffer.from(await (await generate(server, good)).arrayBuffer())
    const [bad, neighbour] = await Promise.all([generate(server, { ...good, seed: 13 }), generate(server, good)])
    expect(bad.status).toBe(500)
    expect(await bad.json()).toMatchObject({
      code: 'GENERATION_FAILED',
      message: `${said} produced numbers that are not finite (NaN or infinite)`
    })
    expect(neighbour.status).toBe(200)
    expect(Buffer.from(await neighbour.arrayBuffer()).equals(alone)).toBe(true)
    await until(
      'the image is counted',
      async () => (await metric(server, 'easel_not_finite_total', `stage="${stage}"`)) === 1
    )
    expect(await metric(server, 'easel_not_finite_total')).toBe(1)
    expect(server.logs.filter(({ msg, worker }) => worker !== undefined && msg.includes('not finite'))).toEqual([
      expect.objectContaining({ level: 50, worker: 'worker-0', stage })
    ])
  }
)
