import { type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Hello, KINDS, STATES_VERSION, type StateForm } from '../../src/workers/protocol.js'
import { MAX_STATE_BYTES } from '../../src/workers/saved-states.js'
import { allEvents } from '../support/events.js'
import { idleWorker, lines, outcomes, stepsOf } from '../support/handover.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, running, type RunningServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const STEPS = 400
const BODY = { prompt: 'a lighthouse', seed: 7, num_inference_steps: STEPS }
/** Such a request takes 4 s, so a worker that leaves cannot finish it. */
const LEAVING = { DRAIN_GRACE: '0.3' }

const isThere = (server: RunningServer, name: string) =>
  server.pool.state.workers.some((worker) => worker.name === name)

const bytesOf = async (answer: Response) => {
  expect(answer.status).toBe(200)
  return Buffer.from(await answer.arrayBuffer())
}

/** The steps of the images that a request was given back with. */
function givenBack(server: RunningServer): Record<string, number> | undefined {
  return server.logs.find(({ msg }) => msg.includes('that go on elsewhere'))?.['steps'] as
    Record<string, number> | undefined
}

describe('a worker that leaves', () => {
  let server: RunningServer
  let first: ChildProcess
  beforeEach(async () => {
    server = await startServer({ WORKER: 'connect' })
    first = startWorker(server.endpoint, 'first', LEAVING)
    await server.pool.firstReady
  })

  /** Begins a request on the first worker; another one is there before it goes. */
  async function begin(
    body: object,
    other: NodeJS.ProcessEnv = {},
    init: RequestInit = {}
  ): Promise<{ answer: Promise<Response> }> {
    const answer = generate(server, body, init)
    await until('some steps are done', () => stepsOf(server, 'first') > 20)
    startWorker(server.endpoint, 'second', other)
    await until('the second worker is there', () => isThere(server, 'second'))
    return { answer }
  }

  it('gives its image to another one, which does the missing steps; bytes, progress and accounts hold', async () => {
    const { answer } = await begin(BODY, {}, { headers: { accept: 'text/event-stream' } })
    const stream = allEvents(await answer)
    first.kill('SIGTERM')
    const all = await stream
    expect(all.at(-1)!.event).toBe('done')
    const [, step] = Object.entries(givenBack(server)!)[0]!
    expect(step).toBeGreaterThan(20)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - step)
    const shown = all.filter(({ event }) => event === 'progress').map(({ data }) => data['step'] as number)
    expect(shown).toEqual(shown.toSorted((a, b) => a - b))
    expect(shown.at(-1)).toBe(STEPS)
    expect(await outcomes(server)).toEqual({ continued: 1 })
    expect(await metric(server, 'easel_replays_total')).toBe(1)
    expect(await metric(server, 'easel_memory_bytes', 'part="states"')).toBe(0)
    // Nothing is lost but the first encoding: the second worker encodes the prompt again.
    const used = await lines(server)
    expect(used['lost']).toBeCloseTo(0.001, 5)
    expect(used['denoise']).toBeCloseTo(STEPS / 100, 5)
    const image = Buffer.from(all.find(({ event }) => event === 'image')!.data['data'] as string, 'base64')
    // The same picture, made in one piece.
    expect(image.equals(await bytesOf(await generate(server, BODY)))).toBe(true)
  })

  it('delivers what it has finished, and only the rest goes on elsewhere', async () => {
    const body = { ...BODY, num_images: 2, num_inference_steps: 500 }
    const { answer } = await begin(body, {}, { headers: { accept: 'application/json' } })
    first.kill('SIGTERM')
    const { images } = (await (await answer).json()) as { images: { data: string }[] }
    expect(images).toHaveLength(2)
    expect(await outcomes(server)).toEqual({ continued: 2 })
    await idleWorker(server, 'second')
    const steps = Object.values(givenBack(server)!)
    // Both images share steps.
    expect(stepsOf(server, 'second')).toBe(500 - Math.min(...steps))
    const alone = await generate(server, body, { headers: { accept: 'application/json' } })
    expect(((await alone.json()) as { images: { data: string }[] }).images.map(({ data }) => data)).toEqual(
      images.map(({ data }) => data)
    )
  })

  it('and is killed instead makes no state: the image starts anew', async () => {
    const { answer } = await begin(BODY)
    first.kill('SIGKILL')
    first.unref()
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({})
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS)
  })

  it('with nobody to go on leaves the image to the next worker of its kind', async () => {
    const answer = generate(server, BODY)
    await until('some steps are done', () => stepsOf(server, 'first') > 20)
    first.kill('SIGTERM')
    await once(first, 'exit')
    await until('it has left', () => server.pool.state.workers.length === 0)
    expect(await metric(server, 'easel_memory_bytes', 'part="states"')).toBe(40)
    startWorker(server.endpoint, 'second')
    await bytesOf(await answer)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - givenBack(server)!['0']!)
    expect(await outcomes(server)).toEqual({ continued: 1 })
  })

  it('and a client that leaves meanwhile pays for the work, and frees the memory', async () => {
    const leaving = new AbortController()
    const answer = generate(server, BODY, { signal: leaving.signal }).catch(() => undefined)
    await until('some steps are done', () => stepsOf(server, 'first') > 20)
    first.kill('SIGTERM')
    await until('it has left', () => server.pool.state.workers.length === 0)
    const step = givenBack(server)!['0']!
    leaving.abort()
    await answer
    await until('the request has ended', () => server.service.ledger.inFlight === 0)
    expect(await outcomes(server)).toEqual({ ended: 1 })
    expect(await metric(server, 'easel_memory_bytes', 'part="states"')).toBe(0)
    expect((await lines(server))['denoise']).toBeCloseTo(step / 100, 5)
  })

  it('to one that crashes with the state: the image starts anew, and no third worker gets the state', async () => {
    const { answer } = await begin(BODY, { FAKE_FAULTS: `exit:${BODY.seed}@resume` })
    first.kill('SIGTERM')
    await until('the second worker is gone', () => server.pool.state.workers.length === 0)
    startWorker(server.endpoint, 'third', { FAKE_FAULTS: `exit:${BODY.seed}@resume` })
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({ crashed: 1 })
    await idleWorker(server, 'third')
    expect(stepsOf(server, 'third')).toBe(STEPS)
  })

  it('and leaves again: the image goes on from worker to worker', async () => {
    startWorker(server.endpoint, 'third', LEAVING)
    const { answer } = await begin(BODY, LEAVING)
    await until('the third worker is there', () => isThere(server, 'third'))
    const goesOn = () => ['second', 'third'].find((name) => stepsOf(server, name) > 20)
    first.kill('SIGTERM')
    await until('another one goes on', () => goesOn() !== undefined)
    const next = goesOn()!
    process.kill(server.pool.state.workers.find(({ name }) => name === next)!.hello.pid, 'SIGTERM')
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({ continued: 2 })
    const last = next === 'second' ? 'third' : 'second'
    await idleWorker(server, last)
    const steps = server.logs.findLast(({ msg }) => msg.includes('that go on elsewhere'))!['steps']
    expect(stepsOf(server, last)).toBe(STEPS - (steps as Record<string, number>)['0']!)
    // Two encodings that were done again.
    expect((await lines(server))['lost']).toBeCloseTo(0.002, 5)
  })
})

it('a worker that freezes before it gives back makes no state, and one that freezes with it starts no third crash', async () => {
  const server = await startServer({ WORKER: 'connect', HEARTBEAT_TIMEOUT: '1' })
  const first = startWorker(server.endpoint, 'first', LEAVING)
  await server.pool.firstReady
  const answer = generate(server, BODY)
  await until('some steps are done', () => stepsOf(server, 'first') > 20)
  const second = startWorker(server.endpoint, 'second')
  await until('the second worker is there', () => server.pool.state.workers.length === 2)
  first.kill('SIGTERM')
  await until('the second worker goes on', () => stepsOf(server, 'second') > 5)
  second.kill('SIGSTOP')
  startWorker(server.endpoint, 'third')
  await bytesOf(await answer)
  expect(await outcomes(server)).toEqual({ crashed: 1 })
  expect(await metric(server, 'easel_workers_lost_total', 'cause="silent"')).toBe(1)
  await idleWorker(server, 'third')
  expect(stepsOf(server, 'third')).toBe(STEPS)

  const frozen = startWorker(server.endpoint, 'fourth', LEAVING)
  await until('the fourth worker is there', () => isThere(server, 'fourth'))
  const both = [1, 2].map((seed) => generate(server, { ...BODY, seed }))
  await until('the fourth has one', () => stepsOf(server, 'fourth') > 5)
  frozen.kill('SIGSTOP')
  frozen.kill('SIGTERM')
  for (const each of both) await bytesOf(await each)
  expect(await outcomes(server)).toEqual({ crashed: 1 })
})

it('a worker of the gateway that gets a signal is replaced, and its successor goes on', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20 --drain-grace 0.3' })
  const [pid] = server.pool.workerPids
  const answer = generate(server, BODY)
  await running(server, 2)
  await until('some steps are done', () => stepsOf(server, 'worker-0') > 20)
  process.kill(pid!, 'SIGTERM')
  await bytesOf(await answer)
  expect(await outcomes(server)).toEqual({ continued: 1 })
  await idleWorker(server, 'worker-0')
  expect(stepsOf(server, 'worker-0')).toBe(STEPS - givenBack(server)!['0']!)
})

describe('with what a worker says', () => {
  const DATA = Buffer.from('not a state of any engine')
  const FORM: StateForm = { image: 0, step: 5, evaluation: 5, bytes: DATA.length, digest: '0'.repeat(64) }
  let server: RunningServer
  let said: Hello
  beforeEach(async () => {
    server = await startServer({ WORKER: 'connect' })
    const real = startWorker(server.endpoint, 'real')
    said = await server.pool.firstReady
    real.kill('SIGTERM')
    await until('it has left', () => server.pool.state.workers.length === 0)
  })

  async function joins(name: string, changes: Partial<Hello> = {}): Promise<ScriptedWorker> {
    const worker = new ScriptedWorker(server.endpoint, name, { ...said, ...changes })
    await worker.hello()
    await until('it is welcome', () => worker.session !== undefined)
    return worker
  }

  /** A worker gives back its job with these states. */
  async function givesBack(worker: ScriptedWorker, states: readonly StateForm[], used = {}): Promise<void> {
    await until('it has a job', () => worker.jobs.length > 0)
    const { id } = worker.jobs.shift()!
    const header = { id, code: 'draining', message: 'it goes', used, states }
    await worker.sendFrames([
      Uint8Array.of(KINDS.FAILED, STATES_VERSION),
      Buffer.from(JSON.stringify(header)),
      ...states.map(({ bytes }) => DATA.subarray(0, bytes))
    ])
  }

  it('is told how large a state may be, unless it makes none', async () => {
    const { state_kind: _, ...without } = said
    const old = new ScriptedWorker(server.endpoint, 'old', without)
    await old.hello()
    await until('it is welcome', () => old.session !== undefined)
    const answer = generate(server, { prompt: 'x' })
    await until('it has the job', () => old.jobs.length > 0)
    expect(old.jobs[0]!.max_state_bytes).toBeUndefined()
    await old.finish()
    await bytesOf(await answer)
    await old.leave()
    await until('it is gone', () => server.pool.state.workers.length === 0)
    const able = await joins('able')
    const other = generate(server, { prompt: 'x' })
    await until('it has the job', () => able.jobs.length > 0)
    expect(able.jobs[0]!.max_state_bytes).toBe(MAX_STATE_BYTES)
    await able.finish()
    await bytesOf(await other)
  })

  it('a state that another worker refuses: the image starts anew, and the log says why', async () => {
    const leaving = await joins('leaving')
    const answer = generate(server, BODY)
    await givesBack(leaving, [FORM])
    await leaving.send('BYE', { reason: 'it goes' })
    startWorker(server.endpoint, 'second')
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({ refused: 1 })
    const line = server.logs.find(({ msg }) => msg.includes('cannot go on with request'))!
    expect(line).toMatchObject({ level: 40, worker: 'second', images: 1 })
    expect(line.msg).toContain('its digest differs')
  })

  it('a state of another kind: the image starts anew at once', async () => {
    const leaving = await joins('leaving', { state_kind: 'e'.repeat(64) })
    const answer = generate(server, BODY)
    await givesBack(leaving, [FORM])
    await leaving.send('BYE', { reason: 'it goes' })
    startWorker(server.endpoint, 'second')
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({ no_worker: 1 })
    expect(server.logs.some(({ msg }) => msg.includes('starts anew on worker second'))).toBe(true)
  })

  it('a busy worker of the kind is waited for, while an idle one of another kind is there', async () => {
    const leaving = await joins('leaving')
    const answer = generate(server, { prompt: 'x', width: 64, height: 64 })
    await until('it has a job', () => leaving.jobs.length > 0)
    await joins('other', { state_kind: 'e'.repeat(64) })
    const kin = await joins('kin')
    await givesBack(leaving, [FORM])
    await until('the one of its kind has it', () => kin.jobs.length > 0)
    expect(kin.jobs[0]!.states).toEqual([FORM])
    expect(kin.frames[0]).toEqual([DATA])
    await kin.finish()
    await bytesOf(await answer)
    expect(await outcomes(server)).toEqual({ continued: 1 })
  })

  it('states of images that it has delivered, that are not there, or beyond the last step are dropped', async () => {
    const leaving = await joins('leaving')
    const answer = generate(server, { prompt: 'x', num_images: 3, num_inference_steps: 9, width: 64, height: 64 })
    await until('it has the job', () => leaving.jobs.length > 0)
    const { id, seeds } = leaving.jobs[0]!
    const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0 }
    const result = { id, image: 0, seed: seeds[0], width: 64, height: 64, timings }
    await leaving.send('RESULT', result, Buffer.alloc(64 * 64 * 3))
    const kin = await joins('kin')
    await givesBack(leaving, [FORM, { ...FORM, image: 1, step: 10 }, { ...FORM, image: 2 }, { ...FORM, image: 3 }])
    await until('the other has it', () => kin.jobs.length > 0)
    // The first image is there, so the job is for two, and has a state of the second of them.
    expect(kin.jobs[0]).toMatchObject({ seeds: seeds.slice(1), states: [{ ...FORM, image: 1 }] })
    await kin.finish()
    await bytesOf(await answer)
  })

  it('work that it overstates is not believed', async () => {
    const leaving = await joins('leaving')
    const answer = generate(server, { prompt: 'x', width: 64, height: 64 })
    await givesBack(leaving, [{ ...FORM, used: { denoise_ms: 9_000_000 } }], { denoise_ms: 1000 })
    await until('it is lost', async () => ((await lines(server))['lost'] ?? 0) > 0.9)
    const kin = await joins('kin')
    await until('the other has it', () => kin.jobs.length > 0)
    await kin.finish()
    await bytesOf(await answer)
    expect((await lines(server))['denoise'] ?? 0).toBeLessThan(1)
  })

  it('a state that nobody sent: the request fails, and no worker is asked for ever', async () => {
    const worker = await joins('worker')
    const answer = generate(server, { prompt: 'x' })
    await until('it has the job', () => worker.jobs.length > 0)
    await worker.send('FAILED', { id: worker.jobs[0]!.id, code: 'state', message: 'no' })
    expect(await (await answer).json()).toMatchObject({ statusCode: 500 })
  })
})
