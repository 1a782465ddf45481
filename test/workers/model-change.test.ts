import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions } from '../../src/gateway-options.js'
import type { Recipe } from '../../src/image/recipe.js'
import type { Hello } from '../../src/workers/protocol.js'
import { recipePicture } from '../support/recipe-picture.js'
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
  await until('it has left', () => server.pool.state.workers.length === 0)
})

async function joins(name: string, model: Hello['model']): Promise<ScriptedWorker> {
  const worker = new ScriptedWorker(server.endpoint, name, { ...said, model })
  await worker.hello()
  await until('it has its answer', () => worker.session !== undefined || worker.refused !== undefined)
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

function delivers(worker: ScriptedWorker, image: number): Promise<void> {
  const { id, seeds } = worker.jobs[0]!
  const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0 }
  const header = { id, image, seed: seeds[image], width: 64, height: 64, timings }
  return worker.send('RESULT', header, Buffer.alloc(64 * 64 * 3))
}

async function outdated(): Promise<Record<string, boolean>> {
  const { workers } = (await (await fetch(`${server.url}/health`)).json()) as {
    workers: { list: { name: string; outdated: boolean }[] }
  }
  return Object.fromEntries(workers.list.map(({ name, outdated }) => [name, outdated]))
}

it('refuses a worker with a model of another name, and says how to serve both', async () => {
  const first = await joins('first', BEFORE)
  const other = { ...BEFORE, id: 'sculptor' }
  const second = await joins('second', other)
  expect(second.refused).toEqual({
    code: 'model',
    message:
      'the worker has the model sculptor, and worker first has painter; to serve several models, name them in MODELS'
  })
  expect(names()).toEqual(['first'])
  expect(server.logs.find(({ msg }) => msg.startsWith('worker second refused: '))).toMatchObject({
    level: 50,
    theirs: other,
    ours: BEFORE
  })
  const answer = ask()
  await until('the first has the job', () => first.jobs.length > 0)
  await first.finish()
  expect(await digestsOf(answer)).toEqual([BEFORE.digest])
})

describe('workers with different weights of one model', () => {
  it.each([
    ['digest', AFTER],
    ['dtype', { ...BEFORE, dtype: 'float32' }]
  ])(
    'share no work when the %s differs: the newer one gets new requests, the older one finishes its own',
    async (_, newer) => {
      const first = await joins('first', BEFORE)
      const before = ask()
      await until('the first has the job', () => first.jobs.length === 1)
      const second = await joins('second', newer)
      const after = [ask(), ask(), ask()]
      await until('the second has the others', () => second.jobs.length === 3)
      expect(first.jobs).toHaveLength(1)
      expect(await outdated()).toEqual({ first: true, second: false })
      await second.finish()
      for (const answer of after) expect(await digestsOf(answer)).toEqual([newer.digest])
      await first.finish()
      expect(await digestsOf(before)).toEqual([BEFORE.digest])
    }
  )

  it('serve the older weights again once no worker has the newer ones', async () => {
    const [first, second] = [await joins('first', BEFORE), await joins('second', AFTER)]
    await second.send('BYE', { reason: 'test' })
    await second.leave()
    await until('it has left', () => names().length === 1)
    const answer = ask()
    await until('the first has the job', () => first.jobs.length > 0)
    await first.finish()
    expect(await digestsOf(answer)).toEqual([BEFORE.digest])
  })

  it('do not return to the older weights when such a worker connects again', async () => {
    const [first, second] = [await joins('first', BEFORE), await joins('second', AFTER)]
    await first.hello({ model: BEFORE })
    await until('it is outdated again', () =>
      server.logs.some(
        ({ level, msg }) =>
          level === 40 &&
          msg ===
            'worker first has older weights, painter (aaaaaaaaaaaa, bfloat16), and gets no new requests; restart it with painter (bbbbbbbbbbbb, bfloat16)'
      )
    )
    const answer = ask()
    await until('the second has the job', () => second.jobs.length > 0)
    await second.finish()
    expect(await digestsOf(answer)).toEqual([AFTER.digest])
  })

  it('never take over a lost job of the others: it goes to a worker with its own weights', async () => {
    const [first, twin] = [await joins('first', BEFORE), await joins('twin', BEFORE)]
    const answer = ask(2)
    await until('one has the job', () => first.jobs.length + twin.jobs.length > 0)
    const [taken, free] = first.jobs.length > 0 ? [first, twin] : [twin, first]
    const second = await joins('second', AFTER)
    await taken.hello({ model: AFTER })
    await until('the other one has the job', () => free.jobs.length > 0)
    expect([...taken.jobs.slice(1), ...second.jobs]).toEqual([])
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
      await until('it has left', () => names().length === 0)
    }
    const next = name === 'first' ? first : await joins(name, AFTER)
    if (name === 'first') await first.hello({ model: AFTER })
    await until('it is there', () => server.pool.state.workers[0]?.hello.model.digest === AFTER.digest)
    expect(
      server.logs.filter(
        ({ msg }) =>
          msg === 'the model has changed from painter (aaaaaaaaaaaa, bfloat16) to painter (bbbbbbbbbbbb, bfloat16)'
      )
    ).toMatchObject([{ level: 40, before: BEFORE, model: AFTER }])
    const answer = ask()
    await until('it has the job', () => next.jobs.length > 0)
    await next.finish()
    expect(await digestsOf(answer)).toEqual([AFTER.digest])
  })

  it.each([0, 1])('fails a request of which the previous model has delivered %i images', async (delivered) => {
    const first = await joins('first', BEFORE)
    const answer = ask(2)
    await until('it has the job', () => first.jobs.length > 0)
    if (delivered > 0) await delivers(first, 0)
    await until('its file is made', async () => (await metric(server, 'easel_images_total')) === delivered)
    first.jobs.length = 0
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

it('a real worker that returns with other weights takes over', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const [python, changed] = [join(folder, 'python'), join(folder, 'changed')]
  // A worker that starts once the file exists finds other weights, as if its folder had been replaced.
  await writeFile(
    python,
    `#!/bin/sh\n[ -e ${changed} ] && export FAKE_WEIGHTS=new\nexec ${loadOptions([], {}).python} "$@"\n`,
    { mode: 0o755 }
  )
  const pair = await startServer({ WORKERS: '2', PYTHON: python })
  await until('both are ready', () => pair.pool.state.workers.length === 2)
  await writeFile(changed, '')
  const [pid, other] = pair.pool.workerPids
  process.kill(pid!, 'SIGKILL')
  await until('it is back', () => pair.pool.state.workers.length === 2 && !pair.pool.workerPids.includes(pid!))
  expect(pair.pool.workerPids).toContain(other)
  const answer = await generate(pair, { prompt: 'x', num_inference_steps: 2 })
  expect(answer.status).toBe(200)
  const recipe = JSON.parse(answer.headers.get('easel-recipe')!) as Recipe
  const pixels = await sharp(Buffer.from(await answer.arrayBuffer()))
    .removeAlpha()
    .raw()
    .toBuffer()
  expect(pixels.equals(recipePicture(recipe, 'new'))).toBe(true)
})

it('a second pass runs on the weights of the first one', async () => {
  const before = await joins('before', BEFORE)
  const request = { prompt: 'x', width: 64, height: 64, num_inference_steps: 2, hires: { width: 64, height: 64 } }
  const answer = generate(server, request)
  await until('a worker has the first pass', () => before.jobs.length === 1)
  const after = await joins('after', AFTER)
  await before.finish()
  await until('it has the second pass', () => before.jobs.length === 1 && before.jobs[0]!.pictures !== undefined)
  expect(after.jobs).toEqual([])
  await before.finish()
  expect((await answer).status).toBe(200)
})
