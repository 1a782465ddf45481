import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { Dealer } from 'zeromq'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { TickCounter } from '../../src/workers/ticks.js'
import { type Hello, type Kind, KINDS, PROTOCOL_VERSION } from '../../src/workers/protocol.js'
import { type GatewayProcess, readyAddress, startProcess } from '../support/process.js'
import { generate, metric, type RunningServer, running, startReadyServer, startServer } from '../support/server.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

describe('TickCounter.over', () => {
  it('is true no earlier than the timeout and less than two intervals after it', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.integer({ min: 1, max: 100_000 }),
        fc.nat({ max: 999 }),
        (interval, limit, phase) => {
          const ticks = new TickCounter(interval)
          // The event falls `phase` thousandths of an interval after a look, which counts as if at that look.
          const from = (phase / 1000) * interval
          let elapsed = -from
          while (!ticks.passed(0, limit)) {
            ticks.next()
            elapsed += interval
          }
          expect(elapsed).toBeGreaterThanOrEqual(limit)
          expect(elapsed).toBeLessThan(limit + 2 * interval)
        }
      ),
      { numRuns: 200 }
    )
  })
})

/** Blocks this process's event loop, and the gateway in it, as a long garbage collection does. */
function hold(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

/** The same, but the loop resumes with its timers, before it reads any socket. */
async function holdBeforeTimers(ms: number): Promise<void> {
  await setImmediate()
  hold(ms)
}

async function pause(gateway: GatewayProcess, ms: number): Promise<void> {
  gateway.child.kill('SIGSTOP')
  await sleep(ms)
  gateway.child.kill('SIGCONT')
}

async function samples(address: string, name: string): Promise<number[]> {
  const text = await (await fetch(`${address}/metrics`)).text()
  return text
    .split('\n')
    .filter((line) => line.startsWith(name))
    .map((line) => Number(line.split(' ').at(-1)))
}

describe('a gateway that stalled', () => {
  it('does not count its worker as silent or hung after repeated SIGSTOPs', async () => {
    const gateway = startProcess('dist/main.js', [], {
      ENGINE: 'fake',
      WORKER_ARGS: '--sizes 64x64 --fake-step-ms 50 --step-timeout 60',
      HEARTBEAT_INTERVAL: '0.1',
      HEARTBEAT_TIMEOUT: '0.5',
      STEP_TIMEOUT: '0.5'
    })
    const address = await readyAddress(gateway)
    const answer = fetch(`${address}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"prompt":"x","num_inference_steps":100}'
    })
    await until('the request runs', async () => (await samples(address, 'easel_rows_in_use'))[0]! > 0)
    for (let stall = 0; stall < 3; stall++) {
      await pause(gateway, 1000)
      await samples(address, 'easel_rows')
    }
    expect((await answer).status).toBe(200)
    for (const name of ['easel_workers_lost_total{', 'easel_worker_restarts_total{', 'easel_replays_total '])
      expect(
        (await samples(address, name)).filter((value) => value > 0),
        name
      ).toEqual([])
  })

  it('does not count its worker as silent or hung after a blocked event loop', async () => {
    const server = await startReadyServer({
      WORKER_ARGS: '--fake-step-ms 50 --step-timeout 60',
      HEARTBEAT_TIMEOUT: '0.5',
      STEP_TIMEOUT: '0.5'
    })
    const answer = generate(server, { prompt: 'x', num_inference_steps: 60 })
    await running(server)
    for (let stall = 0; stall < 3; stall++) {
      await holdBeforeTimers(800)
      await metric(server, 'easel_rows')
    }
    expect((await answer).status).toBe(200)
    expect(await metric(server, 'easel_workers_lost_total')).toBe(0)
    expect(await metric(server, 'easel_replays_total')).toBe(0)
  })

  it('does not kill a worker as too slow to start if it sent HELLO during the stall', async () => {
    const server = await startServer({ START_TIMEOUT: '3' })
    const [pid] = server.pool.workerPids
    await holdBeforeTimers(3500)
    await server.pool.firstReady
    expect((await generate(server, { prompt: 'x' })).status).toBe(200)
    expect(server.pool.workerPids).toEqual([pid])
    expect(server.logs.filter(({ msg }) => msg.includes('was not ready within'))).toEqual([])
  })

  it('retries the request and blames nobody if the worker reconnected during the stall', async () => {
    const server = await startServer({ WORKER: 'connect' })
    const worker = new ScriptedWorker(server.endpoint, 'moves', await helloOf(server))
    await worker.hello()
    await until('the worker is welcomed', () => worker.session !== undefined)
    const answer = generate(server, { prompt: 'x', width: 64, height: 64 })
    // If these counted as deaths, the second would fail the request.
    for (let move = 0; move < 3; move++) {
      await until('the worker has the job', () => worker.jobs.length > 0)
      const { id } = worker.jobs.splice(0)[0]!
      await worker.send('PROGRESS', { id, image: 0, stage: 'denoising', step: 1, of: 2 })
      await worker.sendFrames([Buffer.from('what comes after its progress')])
      await until(
        "the worker's progress is read",
        async () => (await metric(server, 'easel_malformed_messages_total', 'prefix')) === move + 1
      )
      await worker.leave()
      await until('a message to the worker fails', () =>
        server.pool.state.workers.every(({ unreachableTick }) => unreachableTick !== undefined)
      )
      await worker.hello()
    }
    await until('the worker has the job', () => worker.jobs.length > 0)
    await worker.finish()
    expect((await answer).status).toBe(200)
  })
})

/** The HELLO of a real worker. */
async function helloOf(server: RunningServer): Promise<Hello> {
  const model = startWorker(server.endpoint, 'model')
  const hello = await server.pool.firstReady
  model.kill('SIGTERM')
  await until('no worker is registered', () => server.pool.state.workers.length === 0)
  return hello
}

describe('a worker that takes too long', () => {
  it('to send HELLO is killed and restarted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const silent = join(folder, 'worker')
    await writeFile(silent, '#!/bin/sh\nexec cat\n', { mode: 0o755 })
    const server = await startServer({ START_TIMEOUT: '0.2', PYTHON: silent })
    await until('the worker is restarted', async () => (await metric(server, 'easel_worker_restarts_total')) > 0)
    expect(server.logs.some(({ msg }) => msg === 'worker worker-0 was not ready within 0.2 s')).toBe(true)
  })
})

describe('a HELLO over a connection with a different name', () => {
  it('registers no worker, whether the peer is unnamed or gives another name', async () => {
    const server = await startReadyServer()
    const { hello } = server.pool.state.workers[0]!
    await say(connectAs(server), 'HELLO', { ...hello, worker: 'phantom', pid: 4711 })
    await say(connectAs(server, 'mallory'), 'HELLO', { ...hello, worker: 'worker-0', pid: 4712 })
    await expectNobodyElse(server, 2)
  })

  it('registers no worker once a newer connection has taken over the name', async () => {
    const server = await startReadyServer()
    const { hello } = server.pool.state.workers[0]!
    const names = ['worker-0']
    // ZeroMQ may deliver either HELLO first; usually it is that of the connection that lost its name.
    await until('a message over an old connection is dropped', async () => {
      const name = `moved-${names.length}`
      // The gateway reads nothing until both connections have sent HELLO and the first is closed.
      const old = connectAs(server, name)
      await say(old, 'HELLO', { ...hello, worker: name, pid: 4711 })
      hold(300)
      old.close()
      await say(connectAs(server, name), 'HELLO', { ...hello, worker: name, pid: 4711 })
      hold(300)
      names.push(name)
      await until('the worker is registered', () => server.pool.state.workers.some((worker) => worker.name === name))
      expect(server.pool.state.workers.map((worker) => worker.name).sort()).toEqual(names.toSorted())
      return (await metric(server, 'easel_malformed_messages_total', 'unknown_peer')) > 0
    })
    expect(server.pool.state.workers.map((worker) => worker.name).sort()).toEqual(names.toSorted())
  })
})

async function expectNobodyElse(server: RunningServer, dropped: number): Promise<void> {
  await until(
    'all messages are dropped',
    async () => (await metric(server, 'easel_malformed_messages_total', 'reason="unknown_peer"')) === dropped
  )
  expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['worker-0'])
  expect(await metric(server, 'easel_workers_lost_total')).toBe(0)
  const labels = (await (await fetch(`${server.url}/metrics`)).text()).match(/worker="[^"]*"/g) ?? []
  expect(new Set(labels)).toEqual(new Set(['worker="worker-0"']))
  expect(
    server.logs.filter(({ msg, level }) => msg.startsWith('dropped the HELLO of a worker') && level === 20)
  ).toHaveLength(dropped)
}

function connectAs(server: RunningServer, routingId?: string): Dealer {
  const dealer = new Dealer({ linger: 0, ...(routingId === undefined ? {} : { routingId }) })
  dealer.connect(server.endpoint)
  onTestFinished(() => dealer.close())
  return dealer
}

function say(dealer: Dealer, kind: Kind, header: object): Promise<void> {
  return dealer.send([Buffer.from([KINDS[kind], PROTOCOL_VERSION]), JSON.stringify(header)])
}
