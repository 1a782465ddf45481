import { type ChildProcess } from 'node:child_process'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { JobDocument } from '../../src/schemas/job.js'
import type { Hello } from '../../src/workers/protocol.js'
import { idleWorker, lines, outcomes, stepsOf } from '../support/handover.js'
import { readyAddress, startProcess } from '../support/process.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, openServer, type RunningServer, startServer } from '../support/server.js'
import { startValkey, type ValkeyServer } from '../support/valkey.mjs'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const INSTALL_MS = 300_000
const STEPS = 400
const BODY = { prompt: 'a lighthouse', seed: 7, num_inference_steps: STEPS }
/** Such a job takes 4 s, so what leaves cannot finish it. */
const LEAVING = { DRAIN_GRACE: '0.3' }
const GRACE_MS = 5000
const KEY = 'easel:{jobs}:'

let valkey: ValkeyServer
beforeAll(async () => {
  valkey = await startValkey()
}, INSTALL_MS)
beforeEach(async () => {
  await valkey.send('FLUSHALL')
})
afterAll(() => valkey.stop())

const settings = () => ({ WORKER: 'connect', JOB_STORE: valkey.url, JOB_CLAIM_TIMEOUT: '2' })

const put = async (url: string, body: object) => {
  const headers = { 'content-type': 'application/json' }
  const answer = await fetch(`${url}/jobs/a`, { method: 'PUT', headers, body: JSON.stringify(body) })
  expect(answer.status).toBe(202)
}
const jobAt = async (url: string) => (await (await fetch(`${url}/jobs/a`)).json()) as JobDocument

/** A gateway that the test closes itself. */
async function pod(): Promise<{ server: RunningServer; worker: ChildProcess; leave: () => Promise<void> }> {
  const { server, stop } = await openServer(settings())
  const worker = startWorker(server.endpoint, 'first', LEAVING)
  await server.pool.firstReady
  await until('the job store answers', () => server.jobs.store.available)
  const leave = async () => {
    worker.kill('SIGTERM')
    await server.close(GRACE_MS)
    await stop()
  }
  return { server, worker, leave }
}

/** Submits a job, and lets the Pod leave when some of its steps are done. @returns the steps of the images that it gave up */
async function halfDone(body: object): Promise<{ server: RunningServer; steps: Record<string, number> }> {
  const { server, leave } = await pod()
  await put(server.url, body)
  await until('some steps are done', () => stepsOf(server, 'first') > 20)
  await leave()
  return { server, steps: stored(server) }
}

/** The steps of the images that a gateway left in the store. */
function stored({ logs }: RunningServer): Record<string, number> {
  return (logs.find(({ msg }) => msg.includes('that go on at another gateway'))?.['steps'] ?? {}) as Record<
    string,
    number
  >
}

async function next(worker: NodeJS.ProcessEnv = {}): Promise<RunningServer> {
  const server = await startServer(settings())
  startWorker(server.endpoint, 'second', worker)
  return server
}

/** Waits for the job's end. */
async function made(url: string): Promise<JobDocument> {
  let found: JobDocument | undefined
  await until('the job has ended', async () => {
    found = await jobAt(url)
    return found.ended_at !== null
  })
  expect(found).toMatchObject({ status: 'succeeded', crashes: 0 })
  return found!
}

async function expectAlone(url: string, { result }: JobDocument, body: object): Promise<void> {
  const headers = { 'content-type': 'application/json', accept: 'application/json' }
  const answer = await fetch(`${url}/generate`, { method: 'POST', headers, body: JSON.stringify(body) })
  const alone = ((await answer.json()) as { images: { data: string }[] }).images
  const images = await Promise.all(
    result!.images.map(async (image) => Buffer.from(await (await fetch(url + image.url)).arrayBuffer()))
  )
  expect(images.map((image) => image.toString('base64'))).toEqual(alone.map(({ data }) => data))
}

async function expectNoHalves(): Promise<void> {
  expect(await valkey.send('KEYS', `${KEY}in:*`)).toEqual([])
  expect(await valkey.send('HGET', `${KEY}job:/a`, 'half')).toBeNull()
  expect(await valkey.send('HGET', `${KEY}job:/a`, 'bytes')).toBe(await valkey.send('GET', `${KEY}bytes`))
}

describe('a job whose gateway and worker both leave', () => {
  it('goes on at another gateway, without a step twice; bytes, accounts and the store hold', async () => {
    const { server: first, steps } = await halfDone(BODY)
    const { 0: step } = steps
    expect(step).toBeGreaterThan(20)
    expect(await valkey.send('HEXISTS', `${KEY}in:/a`, 'h0')).toBe(1)
    expect(Number(await valkey.send('HGET', `${KEY}job:/a`, 'half'))).toBeGreaterThan(40)
    // Its key pays there for what was done there; the encoding is done again.
    const { usage } = first.pool.models[0]!
    const there = Object.fromEntries(usage.lines.map(({ kind, chipSeconds }) => [kind, chipSeconds]))
    expect(there['denoise']).toBeCloseTo(step! / 100, 5)
    expect(there['lost']).toBeCloseTo(0.001, 5)
    expect(usage.inFlight).toBeCloseTo(0, 9)

    const server = await next()
    const job = await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - step!)
    expect(await outcomes(server)).toEqual({ continued: 1 })
    const here = await lines(server)
    expect(here['denoise']).toBeCloseTo((STEPS - step!) / 100, 5)
    expect(here['lost']).toBe(0)
    expect(job.result!.usage.chip_seconds!.denoise).toBeCloseTo(STEPS / 100, 5)
    await expectNoHalves()
    await expectAlone(server.url, job, BODY)
  })

  it('goes on from gateway to gateway, with all of its images', async () => {
    const body = { ...BODY, num_images: 2 }
    const { steps } = await halfDone(body)
    expect(Object.keys(steps)).toEqual(['0', '1'])
    const { server: second, worker, leave } = await pod()
    await until('the second one goes on', () => stepsOf(second, 'first') > 20)
    expect(worker.exitCode).toBeNull()
    await leave()
    const further = stored(second)
    for (const image of ['0', '1']) expect(further[image]).toBeGreaterThan(steps[image]!)
    const server = await next()
    const job = await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - Math.min(...Object.values(further)))
    expect(await outcomes(server)).toEqual({ continued: 2 })
    await expectNoHalves()
    await expectAlone(server.url, job, body)
  })

  it('is given back as it came by a gateway that does not begin it', async () => {
    const { steps } = await halfDone(BODY)
    // A request of its own fills its queue.
    const full = await startServer({ ...settings(), QUEUE_LIMIT: '1' })
    startWorker(full.endpoint, 'second')
    const other = generate(full, { prompt: 'x', num_inference_steps: 900 })
    await until('its queue is full', () => full.service.ledger.inFlight === 1)
    await until('it has given the job back', async () => Number(await valkey.send('HGET', `${KEY}job:/a`, 'att')) > 1)
    await full.close(0)
    await other.catch(() => undefined)
    const server = await next()
    await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - steps['0']!)
  })

  it('starts anew where a worker dies with it, and no later gateway gets the state', async () => {
    await halfDone(BODY)
    const { server: second, stop } = await openServer(settings())
    startWorker(second.endpoint, 'deadly', { FAKE_FAULTS: `exit:${BODY.seed}@resume` })
    await second.pool.firstReady
    await until('its worker is gone', () => second.pool.state.workers.length === 0)
    expect(await outcomes(second)).toEqual({ crashed: 1 })
    await second.close(0)
    await stop()
    expect(await valkey.send('HGET', `${KEY}job:/a`, 'half')).toBeNull()
    const server = await next({ FAKE_FAULTS: `exit:${BODY.seed}@resume` })
    const job = await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS)
    await expectAlone(server.url, job, BODY)
  })

  it('starts anew after a gateway that died with it', async () => {
    await halfDone(BODY)
    const dying = startProcess('dist/main.js', [], {
      ...settings(),
      WORKER: 'spawn',
      ENGINE: 'fake',
      HEARTBEAT_INTERVAL: '0.1',
      WORKER_ARGS: '--sizes 64x64 --fake-step-ms 50'
    })
    await until('it has the job', async () => (await valkey.send('HGET', `${KEY}job:/a`, 'st')) === 'running')
    dying.child.kill('SIGKILL')
    const server = await next()
    await until('the job is claimed again', async () => Number(await valkey.send('HGET', `${KEY}job:/a`, 'att')) > 2)
    expect(await valkey.send('HGET', `${KEY}job:/a`, 'half')).toBeNull()
    await until('the job has ended', async () => (await jobAt(server.url)).status === 'succeeded')
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS)
  })

  it.each<[string, (hello: Hello) => Partial<Hello>]>([
    ['kind', () => ({ state_kind: 'e'.repeat(64) })],
    ['weights', ({ model }) => ({ model: { ...model, digest: 'e'.repeat(64) } })]
  ])('starts anew where only workers of another %s are', async (_, changes) => {
    const hello = await helloOf()
    await halfDone(BODY)
    const server = await startServer(settings())
    const worker = new ScriptedWorker(server.endpoint, 'other', { ...hello, ...changes(hello) })
    await worker.hello()
    await until('it has the job', () => worker.jobs.length > 0)
    expect(worker.jobs[0]!.states).toBeUndefined()
    await worker.finish()
    await made(server.url)
    expect(await outcomes(server)).toEqual({ no_worker: 1 })
    await expectNoHalves()
  })

  it('starts anew when its store was full, and the log says so once', async () => {
    const { server: first, leave } = await pod()
    await put(first.url, BODY)
    await until('some steps are done', () => stepsOf(first, 'first') > 20)
    await valkey.send('CONFIG', 'SET', 'maxmemory', '1mb')
    await leave()
    await valkey.send('CONFIG', 'SET', 'maxmemory', '0')
    expect(stored(first)).toEqual({})
    const said = first.logs.filter(({ msg }) => msg.includes('half done and starts anew'))
    expect(said).toHaveLength(1)
    expect(said[0]!.msg).toContain('maxmemory')
    const { usage } = first.pool.models[0]!
    expect(usage.lines.find(({ kind }) => kind === 'lost')!.chipSeconds).toBeGreaterThan(0.2)
    const server = await next()
    const job = await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS)
    await expectAlone(server.url, job, BODY)
  })
})

describe('the gateway as a process', () => {
  it.each([
    ['with a worker of its own', 'spawn'],
    ['beside a worker that gets the signal at the same time', 'connect']
  ])('that gets SIGTERM, %s, leaves its half-done images in the store', async (_, WORKER) => {
    const gateway = startProcess('dist/main.js', [], {
      ...settings(),
      WORKER,
      ENGINE: 'fake',
      HEARTBEAT_INTERVAL: '0.1',
      DRAIN_TIMEOUT: '2',
      LOG_FORMAT: 'json',
      WORKER_ARGS: '--sizes 64x64 --fake-step-ms 10'
    })
    const worker =
      WORKER === 'connect' ? startWorker(`ipc://${gateway.socket}`, 'first', { DRAIN_GRACE: '1' }) : undefined
    const url = await readyAddress(gateway)
    await put(url, BODY)
    await until('some steps are done', async () => ((await jobAt(url)).progress?.step ?? 0) > 20)
    gateway.child.kill('SIGTERM')
    worker?.kill('SIGTERM')
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(await valkey.send('HMGET', `${KEY}job:/a`, 'st', 'cr')).toEqual(['queued', '0'])
    const half = JSON.parse((await valkey.send('HGET', `${KEY}in:/a`, 'halves')) as string) as {
      form: { step: number }
    }
    expect(half.form.step).toBeGreaterThan(20)
    const server = await next()
    await made(server.url)
    await idleWorker(server, 'second')
    expect(stepsOf(server, 'second')).toBe(STEPS - half.form.step)
  })
})

/** What a fake worker says. */
async function helloOf(): Promise<Hello> {
  const { server, stop } = await openServer({ WORKER: 'connect' })
  startWorker(server.endpoint, 'model')
  const hello = await server.pool.firstReady
  await stop()
  return hello
}
