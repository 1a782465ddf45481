import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { UsageResponse } from '../../src/schemas/usage.js'
import { generate, metric, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const KEYS = [
  { name: 'team-a', key: 'team-a-secret-key-1' },
  { name: 'team-b', key: 'team-b-secret-key-2' }
]
/** A chip's step: most of its time is for the rows. */
const CHIP = '--fake-step-times 64x64=0.2+2,32x48=0.1+1 --fake-encode-ms 1 --fake-decode-ms 3 --rows 8'

async function keyFile(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const path = join(folder, 'keys.json')
  await writeFile(path, JSON.stringify({ keys: KEYS }))
  return path
}

/** The same numbers every time, from 0 to below 1. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32
    return state / 2 ** 32
  }
}

function requests(count: number): object[] {
  const next = random(7)
  const one = <T>(...values: T[]) => values[Math.floor(next() * values.length)]!
  return Array.from({ length: count }, (_, seed) => {
    const [width, height] = one([64, 64], [32, 48])
    return {
      prompt: `picture ${seed}`,
      seed,
      width,
      height,
      num_inference_steps: 4 + Math.floor(next() * 20),
      guidance_scale: one(5, 5, 5, 1),
      guidance_end: one(1, 1, 0.5),
      scheduler: one('euler', 'euler', 'heun'),
      num_images: one(1, 1, 2)
    }
  })
}

const ask = (server: RunningServer, path: string, key: number, body: object, signal?: AbortSignal) =>
  fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'application/json',
      authorization: `Bearer ${KEYS[key]!.key}`
    },
    body: JSON.stringify(body),
    ...(signal === undefined ? {} : { signal })
  })

async function usageOf(server: RunningServer): Promise<UsageResponse['models'][number]> {
  const { models } = (await (await fetch(`${server.url}/usage`)).json()) as UsageResponse
  return models[0]!
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0)

/** Waits until all that the workers did is in the ledger, and heartbeats have told of it. */
async function settled(server: RunningServer) {
  await until('nothing is in flight', async () => {
    const { in_flight_chip_seconds: open } = await usageOf(server)
    return open < 1e-3 && (await metric(server, 'easel_requests_in_flight')) === 0
  })
  const heard = () => server.pool.state.workers.map(({ heartbeat }) => heartbeat)
  const before = heard()
  await until('each worker sent a heartbeat', () => heard().every((heartbeat) => !before.includes(heartbeat)))
}

it('what is charged, padding and lost work are what the workers were busy, with cancels and a killed worker', async () => {
  const server = await startReadyServer({ ACCESS_KEYS: await keyFile(), WORKER_ARGS: CHIP })
  /** The most that each process has counted, as the heartbeats say. */
  const busy = new Map<number, number>()
  const watching = setInterval(() => {
    for (const { hello, heartbeat } of server.pool.state.workers)
      busy.set(hello.pid, Math.max(busy.get(hello.pid) ?? 0, (heartbeat?.used?.busy_ms ?? 0) / 1000))
  }, 20)
  onTestFinished(() => clearInterval(watching))
  const mix = requests(16)
  const first = mix.slice(0, 8).map((body, index) => {
    const leaving = new AbortController()
    const answer = ask(server, '/generate', index % 2, body, leaving.signal).catch(() => undefined)
    if (index % 4 === 0)
      void until('it has begun', () => server.service.ledger.ended.succeeded > 2).then(() => leaving.abort())
    return answer
  })
  await Promise.all(first)
  /** What lines and processes differ by, in chip-seconds. */
  const difference = async () => {
    await settled(server)
    const { lines } = await usageOf(server)
    await until('the last heartbeat is noted', () =>
      server.pool.state.workers.every(
        ({ hello, heartbeat }) => busy.get(hello.pid)! >= (heartbeat?.used?.busy_ms ?? 0) / 1000
      )
    )
    return sum(lines.map(({ chip_seconds: seconds }) => seconds)) - sum([...busy.values()])
  }
  expect(Math.abs(await difference())).toBeLessThan(0.01)
  const long = [0, 1].map((key) => ask(server, '/generate', key, { prompt: 'x', num_inference_steps: 150 }))
  const [pid] = server.pool.workerPids
  const before = busy.get(pid!) ?? 0
  await until('a heartbeat tells of their steps', () => (busy.get(pid!) ?? 0) > before + 0.1)
  process.kill(pid!, 'SIGKILL')
  // Its successor makes them, and then takes others.
  const replayed = await Promise.all(long)
  // The killed process did more after its last heartbeat. Its messages of that time are counted.
  const unsaid = await difference()
  expect(unsaid).toBeGreaterThan(-0.01)
  const later = await Promise.all(mix.slice(8).map((body, index) => ask(server, '/generate', index % 2, body)))
  const answers = [...replayed, ...later]
  for (const answer of answers) expect(answer.status).toBe(200)
  expect(Math.abs((await difference()) - unsaid)).toBeLessThan(0.01)
  const { busy_chip_seconds: counted, lines } = await usageOf(server)
  const total = sum(lines.map(({ chip_seconds: seconds }) => seconds))
  expect(busy.size).toBe(2)
  expect(Math.abs(counted - total)).toBeLessThan(0.01 * total)
  expect(lines.find(({ kind }) => kind === 'lost')!.chip_seconds).toBeGreaterThan(0.05)
  for (const { name } of KEYS)
    expect(sum(lines.filter(({ key }) => key === name).map(({ chip_seconds: seconds }) => seconds))).toBeGreaterThan(0)
  expect(await metric(server, 'easel_chip_seconds_total')).toBeCloseTo(total, 3)
  expect(await metric(server, 'easel_busy_chip_seconds_total')).toBeCloseTo(counted, 3)
})

describe('estimates', () => {
  it('are within 10 % of what is charged for 95 % of a random mix', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(), WORKER_ARGS: CHIP })
    const unknown = await ask(server, '/estimate', 0, { prompt: 'x' })
    expect(await unknown.json()).toEqual({ chip_seconds: null, wait_seconds: null, seconds: null })
    // The first of each size teaches the prices.
    const mix = requests(50)
    for (const body of mix.slice(0, 10)) expect((await ask(server, '/generate', 0, body)).status).toBe(200)
    const errors: number[] = []
    for (let at = 10; at < mix.length; at += 5) {
      const some = mix.slice(at, at + 5)
      const estimates = await Promise.all(some.map((body) => ask(server, '/estimate', 0, body)))
      const answers = await Promise.all(some.map((body, index) => ask(server, '/generate', index % 2, body)))
      for (const [index, answer] of answers.entries()) {
        const estimate = (await estimates[index]!.json()) as { chip_seconds: { total: number }; seconds: number }
        const made = (await answer.json()) as { usage: { chip_seconds: { total: number } } }
        expect(answer.headers.get('easel-chip-seconds')).toBe(String(made.usage.chip_seconds.total))
        errors.push(Math.abs(estimate.chip_seconds.total / made.usage.chip_seconds.total - 1))
      }
    }
    const close = errors.filter((error) => error <= 0.1)
    expect(close.length / errors.length).toBeGreaterThanOrEqual(0.95)
    expect(await metric(server, 'easel_requests_accepted_total')).toBe(mix.length)
  })

  it('refuse what would be refused, and need a key', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile() })
    const refused = await ask(server, '/estimate', 0, { prompt: 'x', width: 24, height: 24 })
    expect([refused.status, ((await refused.json()) as { code: string }).code]).toEqual([400, 'UNSUPPORTED_SIZE'])
    const anonymous = await fetch(`${server.url}/estimate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"prompt":"x"}'
    })
    expect(anonymous.status).toBe(401)
  })
})

it('says in each form of an answer what was used, and /usage names the keys only on the admin port', async () => {
  const server = await startReadyServer({ ADMIN_PORT: '0', WORKER_ARGS: '--fake-encode-ms 2 --fake-decode-ms 4' })
  const body = { prompt: 'x', num_inference_steps: 10, num_images: 1 }
  const png = await generate(server, body)
  // Ten steps of 1 ms, the encoding and the decoding.
  expect(Number(png.headers.get('easel-chip-seconds'))).toBeCloseTo(0.016, 6)
  const events = await (await generate(server, body, { headers: { accept: 'text/event-stream' } })).text()
  expect(events).toContain('"chip_seconds":{"total":0.016,"encode":0.002,"denoise":0.01,"preview":0,"decode":0.004}')
  const openai = await fetch(`${server.url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', num_inference_steps: 10 })
  })
  expect(Number(openai.headers.get('easel-chip-seconds'))).toBeCloseTo(0.016, 6)
  expect((await fetch(`${server.url}/usage`)).status).toBe(404)
  const answer = await server.admin!.inject('/usage')
  expect(answer.statusCode).toBe(200)
  expect(answer.json<UsageResponse>().models[0]!.lines).toContainEqual({
    key: null,
    kind: 'encode',
    chip_seconds: expect.closeTo(0.006, 6) as number
  })
})
