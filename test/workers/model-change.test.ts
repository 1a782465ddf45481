import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { Hello } from '../../src/workers/protocol.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const BEFORE = { id: 'painter', digest: 'a'.repeat(64), dtype: 'bfloat16' }
const AFTER = { ...BEFORE, digest: 'b'.repeat(64) }

let server: RunningServer
let said: Hello
beforeEach(async () => {
  server = await startServer({ WORKER: 'connect' })
  const real = startWorker(server.endpoint, 'real')
  said = { ...(await server.pool.firstReady), model: BEFORE }
  real.kill('SIGTERM')
  await until('no worker is registered', () => server.pool.state.workers.length === 0)
})

async function joins(name: string, model: Hello['model']): Promise<ScriptedWorker> {
  const worker = new ScriptedWorker(server.endpoint, name, { ...said, model })
  await worker.hello()
  await until('the worker has its answer', () => worker.session !== undefined || worker.refused !== undefined)
  return worker
}

function ask(num_images = 1): Promise<Response> {
  return generate(
    server,
    { prompt: 'x', width: 64, height: 64, num_images, num_inference_steps: 2 },
    { headers: { accept: 'application/json' } }
  )
}

async function digestsOf(answer: Promise<Response>): Promise<(string | undefined)[]> {
  const { images } = (await (await answer).json()) as { images: { recipe: { model_digest: string } }[] }
  return images.map(({ recipe }) => recipe.model_digest)
}

const names = () => server.pool.state.workers.map(({ name }) => name)

describe('a worker with a different model than the others', () => {
  it.each([
    ['digest', AFTER],
    ['id', { ...BEFORE, id: 'sculptor' }],
    ['dtype', { ...BEFORE, dtype: 'float32' }]
  ])('is refused for its %s with a message that says what to do', async (_, other) => {
    const first = await joins('first', BEFORE)
    const second = await joins('second', other)
    expect(second.refused).toEqual({
      code: 'model',
      message: `the worker has the model ${other.id} (${other.digest.slice(0, 12)}, ${other.dtype}), and worker first has painter (aaaaaaaaaaaa, bfloat16); restart all workers on the same weights`
    })
    expect(names()).toEqual(['first'])
    expect(server.logs.find(({ msg }) => msg.startsWith('worker second refused: '))).toMatchObject({
      level: 50,
      theirs: other,
      ours: BEFORE
    })
    const answer = ask()
    await until('the first worker has the job', () => first.jobs.length > 0)
    await first.finish()
    expect(await digestsOf(answer)).toEqual([BEFORE.digest])
  })

  it('replaces the worker of its name, whose jobs go to another worker', async () => {
    const [first, second] = [await joins('first', BEFORE), await joins('second', BEFORE)]
    const answer = ask(2)
    await until('one worker has the job', () => first.jobs.length + second.jobs.length > 0)
    const [taken, free] = first.jobs.length > 0 ? [first, second] : [second, first]
    await taken.hello({ model: AFTER })
    await until('the other worker has the job', () => free.jobs.length > 0)
    expect(taken.refused?.code).toBe('model')
    expect(server.pool.state.workers).toHaveLength(1)
    await free.finish()
    expect(await digestsOf(answer)).toEqual([BEFORE.digest, BEFORE.digest])
  })
})

describe('a new model', () => {
  it.each([
    ['in the place of the only worker', 'first'],
    ['after the last worker has left', 'second']
  ])('is accepted %s, logged as a warning, and named in recipes', async (_, name) => {
    const first = await joins('first', BEFORE)
    if (name !== 'first') {
      await first.send('BYE', { reason: 'test' })
      // Leave like a process that ends. If it answered another ping, it would become a worker again.
      await first.leave()
      await until('no worker is registered', () => names().length === 0)
    }
    const next = name === 'first' ? first : await joins(name, AFTER)
    if (name === 'first') await first.hello({ model: AFTER })
    await until(
      'the worker with the new model is registered',
      () => server.pool.state.workers[0]?.hello.model.digest === AFTER.digest
    )
    expect(
      server.logs.filter(
        ({ msg }) =>
          msg === 'the model has changed from painter (aaaaaaaaaaaa, bfloat16) to painter (bbbbbbbbbbbb, bfloat16)'
      )
    ).toMatchObject([{ level: 40, before: BEFORE, model: AFTER }])
    const answer = ask()
    await until('the worker has the job', () => next.jobs.length > 0)
    await next.finish()
    expect(await digestsOf(answer)).toEqual([AFTER.digest])
  })

  it('runs a request of which the previous model has not delivered any image', async () => {
    const first = await joins('first', BEFORE)
    const answer = ask(2)
    await until('the worker has the job', () => first.jobs.length > 0)
    await first.hello({ model: AFTER })
    await until('the worker has the job again', () => first.jobs.length > 1)
    first.jobs.shift()
    await first.finish()
    expect(await digestsOf(answer)).toEqual([AFTER.digest, AFTER.digest])
  })

  it('fails a request of which the previous model has delivered an image', async () => {
    const first = await joins('first', BEFORE)
    const answer = ask(2)
    await until('the worker has the job', () => first.jobs.length > 0)
    const { id, seeds } = first.jobs.shift()!
    const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0 }
    await first.send(
      'RESULT',
      { id, image: 0, seed: seeds[0], width: 64, height: 64, timings },
      Buffer.alloc(64 * 64 * 3)
    )
    await until('the first image is encoded', async () => (await metric(server, 'easel_images_total')) === 1)
    await first.hello({ model: AFTER })
    const response = await answer
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject({
      code: 'GENERATION_FAILED',
      message: 'the model changed while the request ran; send it again'
    })
    expect(first.jobs).toEqual([])
    expect(server.pool.state).toMatchObject({ queued: 0, running: 0 })
  })
})

it('a real worker that returns with other weights logs its refusal and is not restarted', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const [python, changed] = [join(folder, 'python'), join(folder, 'changed')]
  // A real worker whose fake engine reports another digest once the file exists, as if its weights had been replaced.
  const program = `
import os, runpy, sys
from hashlib import sha256
from easel_worker.fake import engine
if os.path.exists(${JSON.stringify(changed)}):
    engine.sha256 = lambda data: sha256(data + b" changed")
runpy.run_module("easel_worker", run_name="__main__", alter_sys=True)
`
  await writeFile(`${python}.py`, program)
  await writeFile(python, `#!/bin/sh\nshift 2\nPYTHONPATH=. exec ${loadOptions([], {}).python} ${python}.py "$@"\n`, {
    mode: 0o755
  })
  const pair = await startServer({ WORKERS: '2', PYTHON: python })
  await until('both workers are connected', () => pair.pool.state.workers.length === 2)
  await writeFile(changed, '')
  const [pid, other] = pair.pool.workerPids
  process.kill(pid!, 'SIGKILL')
  await until('the supervisor gives up the worker', () =>
    pair.logs.some(({ msg }) =>
      msg.startsWith('worker worker-0 was refused and will not be restarted; fix what its refusal names')
    )
  )
  expect(pair.pool.workerPids).toEqual([other])
  expect(
    pair.logs.some(
      ({ level, msg }) =>
        level === 50 &&
        /^worker worker-0 refused: the worker has the model fake \(.*restart all workers on the same weights$/.test(msg)
    )
  ).toBe(true)
  expect((await generate(pair, { prompt: 'x', num_inference_steps: 2 })).status).toBe(200)
})
