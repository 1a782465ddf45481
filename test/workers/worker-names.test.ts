import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { curveKeyPair, Dealer } from 'zeromq'
import { type Kind, KINDS, PROTOCOL_VERSION } from '../../src/workers/protocol.js'
import { freePort } from '../../tools/ports.mjs'
import { idleHeartbeat } from '../support/heartbeat.mjs'
import { generate, metric, type RunningServer, running, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

type CurveKeyPair = ReturnType<typeof curveKeyPair>

/** A gateway that lets in workers by a list of keys, and what its workers need. */
async function gateway(lines: readonly string[]) {
  const keys = curveKeyPair()
  const file = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'workers')
  writeFileSync(file, lines.join('\n'))
  const server = await startServer({
    WORKER: 'connect',
    WORKER_ENDPOINT: `tcp://127.0.0.1:${await freePort()}`,
    CURVE_SECRET_KEY: keys.secretKey,
    CURVE_WORKER_KEYS: file
  })
  const secretFile = (secret: string) => {
    const path = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'secret')
    writeFileSync(path, secret)
    return `@${path}`
  }
  return {
    server,
    file,
    start: (name: string, { secretKey }: CurveKeyPair, endpoint = server.endpoint) =>
      startWorker(endpoint, name, {
        EASEL_CURVE_SERVER_KEY: keys.publicKey,
        EASEL_CURVE_SECRET_KEY: secretFile(secretKey)
      }),
    peer: (own: CurveKeyPair, routingId: string) => new Impostor(server, keys.publicKey, own, routingId)
  }
}

/** A let-in peer that says what the test tells it to. */
class Impostor {
  /** The kinds of what it received. */
  readonly heard: Kind[] = []
  /** Its refusals. */
  readonly refusals: { code: string; message: string }[] = []
  readonly #dealer: Dealer

  constructor({ endpoint }: RunningServer, curveServerKey: string, own: CurveKeyPair, routingId: string) {
    const keys = { curveServerKey, curvePublicKey: own.publicKey, curveSecretKey: own.secretKey }
    this.#dealer = new Dealer({ ...keys, routingId, linger: 0 })
    this.#dealer.connect(endpoint)
    onTestFinished(() => this.#dealer.close())
    this.#listen().catch((error: unknown) => {
      if (!this.#dealer.closed) throw error
    })
  }

  async send(kind: Kind, header: object): Promise<void> {
    await this.#dealer.send([Uint8Array.of(KINDS[kind], PROTOCOL_VERSION), JSON.stringify(header)] as (
      string | Buffer
    )[])
  }

  async #listen(): Promise<void> {
    for await (const [tag, header] of this.#dealer) {
      const kind = (Object.keys(KINDS) as Kind[]).find((name) => KINDS[name] === tag![0])!
      this.heard.push(kind)
      if (kind === 'REFUSED') this.refusals.push(JSON.parse(header!.toString()) as { code: string; message: string })
    }
  }
}

const only = ({ pool }: RunningServer) => pool.state.workers[0]!
const refusals = (server: RunningServer) => metric(server, 'easel_worker_peers_refused_total', 'reason="name"')
const LONG = { prompt: 'x', width: 64, height: 64, num_inference_steps: 300 }

describe('a worker with another key', () => {
  it('cannot take the name of a connected worker, whose session and images go on', async () => {
    const [mine, theirs] = [curveKeyPair(), curveKeyPair()]
    const { server, start, peer } = await gateway([mine.publicKey, theirs.publicKey])
    start('mine', mine)
    await server.pool.firstReady
    const { session, hello, peer: id } = only(server)
    const asked = generate(server, LONG)
    await running(server)
    // Under the worker's name, and under the id by which the gateway knows its connection, which nobody else can know.
    for (const routingId of ['mine', id]) {
      const impostor = peer(theirs, routingId)
      await impostor.send('HELLO', { ...hello, pid: 1 })
      await until('it is refused', () => impostor.refusals.length === 1)
      expect(impostor.refusals[0]).toMatchObject({
        code: 'name',
        message: expect.stringContaining('a connected worker with another CURVE key has the name "mine"')
      })
      // Nor with the session, which it should not know either.
      await impostor.send('HEARTBEAT', idleHeartbeat(session))
      await until('it is asked who it is', () => impostor.heard.includes('PING'))
      await impostor.send('BYE', { reason: 'to end the session of another' })
      await impostor.send('HELLO', { ...hello, pid: 2 })
      await until('it is refused again', () => impostor.refusals.length === 2)
      expect(new Set(impostor.heard)).toEqual(new Set(['REFUSED', 'PING']))
    }
    expect((await asked).status).toBe(200)
    expect(server.pool.state.workers.map(({ name, session: now, peer: same }) => [name, now, same])).toEqual([
      ['mine', session, id]
    ])
    expect(await metric(server, 'easel_replays_total')).toBe(0)
    expect(await refusals(server)).toBe(4)
    const lines = server.logs.filter(({ msg }) => msg.startsWith('refused a worker'))
    expect(lines).toMatchObject([{ level: 50, worker: 'mine', key: theirs.publicKey, owner: mine.publicKey }])
    expect(lines[0]!.msg).toContain('write name=mine after the right one')
  })

  it('has the name once its owner is gone', async () => {
    const [old, fresh] = [curveKeyPair(), curveKeyPair()]
    const { server, start } = await gateway([old.publicKey, fresh.publicKey])
    const worker = start('rotated', old)
    await server.pool.firstReady
    worker.kill('SIGTERM')
    await until('it has left', () => server.pool.state.workers.length === 0)
    start('rotated', fresh)
    await until('it is back', () => only(server)?.holder?.key === fresh.publicKey)
    expect((await generate(server, { prompt: 'x', width: 64, height: 64 })).status).toBe(200)
  })
})

it('a key that has names in the file is refused under others', async () => {
  const [key, free] = [curveKeyPair(), curveKeyPair()]
  const { server, file, start, peer } = await gateway([`${key.publicKey} the first pool name=tpu-*`, free.publicKey])
  const other = start('spare', key)
  const [status] = (await once(other, 'exit')) as [number]
  expect(status).toBe(3)
  expect(server.pool.state.workers).toEqual([])
  start('tpu-0', key)
  await server.pool.firstReady
  expect(server.logs.find(({ msg }) => msg.includes('with the name "spare"'))!.msg).toContain(
    'add name=spare after the key'
  )
  // The other key's worker keeps no name away from it that the file says is its own.
  writeFileSync(file, `${key.publicKey} name=tpu-*\n${free.publicKey} name=cpu-*\n`)
  const impostor = peer(free, 'x')
  await impostor.send('HELLO', { ...only(server).hello, worker: 'tpu-1' })
  await until('it is refused', () => impostor.refusals.length === 1)
  expect(impostor.refusals[0]!.message).toContain('does not let this worker')
  expect(await refusals(server)).toBe(2)
})

describe('a worker with the same key', () => {
  it('takes over its name from its earlier connection, whose late messages change nothing', async () => {
    const key = curveKeyPair()
    const { server, start, peer } = await gateway([key.publicKey])
    start('twice', key)
    await server.pool.firstReady
    const { hello } = only(server)
    const first = peer(key, 'twice')
    await first.send('HELLO', { ...hello, worker: 'again', pid: 1 })
    await until('it is welcome', () => first.heard.includes('WELCOME'))
    const second = peer(key, 'twice')
    await second.send('HELLO', { ...hello, worker: 'again', pid: 2 })
    await until('it is welcome', () => second.heard.includes('WELCOME'))
    const pid = () => server.pool.state.workers.find(({ name }) => name === 'again')?.hello.pid
    expect(pid()).toBe(2)
    const dropped = await metric(server, 'easel_malformed_messages_total')
    await first.send('HELLO', { ...hello, worker: 'again', pid: 1 })
    // Nor may one connection have two workers.
    await second.send('HELLO', { ...hello, worker: 'third', pid: 3 })
    await until(
      'both are dropped',
      async () => (await metric(server, 'easel_malformed_messages_total')) === dropped + 2
    )
    expect(pid()).toBe(2)
    expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['twice', 'again'])
  })

  it('begins a new session over a new connection, and makes its images anew', async () => {
    const key = curveKeyPair()
    const { server, start } = await gateway([key.publicKey])
    const sockets = new Set<Socket>()
    const port = Number(new URL(server.endpoint.replace('tcp', 'http')).port)
    const relay = createServer((near) => {
      const far = connect(port, '127.0.0.1')
      for (const [one, other] of [[near, far] as const, [far, near] as const]) {
        sockets.add(one)
        one
          .on('error', () => undefined)
          .on('close', () => other.destroy())
          .pipe(other)
      }
    }).listen(0, '127.0.0.1')
    onTestFinished(() => {
      relay.close()
      for (const socket of sockets) socket.destroy()
    })
    await once(relay, 'listening')
    start('cut-off', key, `tcp://127.0.0.1:${(relay.address() as AddressInfo).port}`)
    await server.pool.firstReady
    const { session } = only(server)
    const asked = generate(server, LONG)
    await running(server)
    for (const socket of sockets) socket.destroy()
    await until('there is a new session', () => only(server) !== undefined && only(server).session !== session)
    expect((await asked).status).toBe(200)
  })
})
