import net from 'node:net'
import fc from 'fast-check'
import { Dealer } from 'zeromq'
import { expect, it, onTestFinished } from 'vitest'
import { createDecoder } from '../../src/workers/codec.js'
import { type Kind, KINDS, MAX_HEADER_BYTES, PROTOCOL_VERSION } from '../../src/workers/protocol.js'
import { reconnect } from '../support/reconnect.js'
import { ScriptedWorker } from '../support/scripted-worker.js'
import { generate, metric, type RunningServer, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

const decode = createDecoder()

const anyKind = fc.constantFrom(...Object.values(KINDS))
const tag = fc.oneof(
  { weight: 4, arbitrary: anyKind.map((kind) => Uint8Array.of(kind, PROTOCOL_VERSION)) },
  { weight: 1, arbitrary: fc.tuple(anyKind, fc.nat(255)).map((bytes) => Uint8Array.from(bytes)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 4 }) }
)
const header = fc.oneof(
  fc.json().map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 40 }),
  fc.constant(Buffer.alloc(MAX_HEADER_BYTES + 1, '{'))
)
const binary = fc.array(fc.oneof(fc.uint8Array({ maxLength: 64 }), fc.constant(Buffer.alloc(100_000))), {
  maxLength: 3
})
/** Malformed frames of every sort: empty, truncated, too many, too large, unknown kind, wrong version. */
const garbage = fc
  .oneof(
    fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 6 }),
    fc.tuple(tag, header, binary).map(([tag, header, binary]) => [tag, header, ...binary]),
    fc.constant(Array.from({ length: 1000 }, () => Buffer.alloc(0)))
  )
  .filter((frames) => malformed(frames))

function malformed(frames: Uint8Array[]): boolean {
  try {
    decode(frames)
    return false
  } catch {
    return true
  }
}

function loggedFor(server: RunningServer, peer: string): number {
  return server.logs.filter((line) => line['peer'] === JSON.stringify(peer) && line.level >= 40).length
}

it('garbage from strangers is counted, logged once per peer, and affects nobody else', async () => {
  const server = await startReadyServer()
  let count = 0
  let strangers = 0
  await fc.assert(
    fc.asyncProperty(fc.array(garbage, { minLength: 1, maxLength: 8 }), async (messages) => {
      const name = `stranger-${++strangers}`
      const dealer = new Dealer({ routingId: name, linger: 0 })
      dealer.connect(server.endpoint)
      for (const frames of messages) await dealer.send(frames as Buffer[])
      count += messages.length
      await until(
        'all messages are counted',
        async () => (await metric(server, 'easel_malformed_messages_total')) === count
      )
      dealer.close()
      expect(loggedFor(server, name)).toBe(1)
    }),
    { numRuns: 60 }
  )
  expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['worker-0'])
  expect(await metric(server, 'easel_workers_lost_total')).toBe(0)
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
})

it('bytes that are not ZeroMQ affect nobody', async () => {
  const server = await startReadyServer()
  const socket = () => net.connect(server.endpoint.slice('ipc://'.length)).on('error', () => undefined)
  const silent = socket()
  onTestFinished(() => void silent.destroy())
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.boolean(), async (bytes, greeting) => {
      const peer = socket()
      // With a valid greeting the garbage reaches the next layer of ZeroMQ's parser.
      if (greeting)
        peer.write(
          Buffer.concat([Buffer.from([0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0]), Buffer.from('NULL'.padEnd(52, '\0'))])
        )
      await new Promise<void>((resolve) => peer.write(bytes, () => resolve()))
      peer.destroy()
    }),
    { numRuns: 100 }
  )
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  expect(server.pool.state.workers).toHaveLength(1)
})

const IDS = ['mine', 'mine', 'mine', 'nobody'] as const
const id = fc.constantFrom(...IDS)
const number = fc.oneof(fc.nat(3), fc.nat(), fc.constantFrom(0, 2 ** 31, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER))
const side = fc.constantFrom(64, 64, 8, 1)
/** Small, so that no forecast refuses a request for its deadline. */
const ms = fc.constantFrom(0, 0.5, 1)
const stage = fc.constantFrom('encoding', 'denoising', 'decoding')
const code = fc.constantFrom('invalid', 'cancelled', 'expired', 'draining', 'out_of_memory', 'internal')
const timings = fc.record({ queue_ms: ms, encode_ms: ms, denoise_ms: ms, decode_ms: ms })
const progress = fc.record({ id, image: number, stage, step: number, of: number.map((of) => of + 1) })
const picture = { width: side, height: side, pixels: fc.constantFrom(undefined, undefined, undefined, 3, 64 * 64 * 3) }

interface Word {
  kind: Kind
  header: object
  /** Length of the binary frame. */
  pixels?: number
}
const pixelsOf = (width: number, height: number, other: number | undefined) => other ?? width * height * 3

/** Messages of a faulty worker: valid on the wire, wrong in this state. */
const nonsense: fc.Arbitrary<Word> = fc.oneof(
  progress.map((header) => ({ kind: 'PROGRESS' as const, header })),
  fc.record({ header: progress, ...picture }).map(({ header, width, height, pixels }) => ({
    kind: 'PROGRESS' as const,
    header: { ...header, preview: { width, height } },
    pixels: pixelsOf(width, height, pixels)
  })),
  fc.record({ id, image: number, seed: fc.constantFrom(7, 8), timings, ...picture }).map(({ pixels, ...header }) => ({
    kind: 'RESULT' as const,
    header,
    pixels: pixelsOf(header.width, header.height, pixels)
  })),
  fc.record({ id, code, message: fc.string() }).map((header) => ({ kind: 'FAILED' as const, header })),
  fc
    .record({
      session: fc.constantFrom('mine', 'mine', 'other'),
      steps_total: number,
      rows_in_use: number,
      rows_padded_total: number,
      queued: number,
      step_ms: fc.array(ms, { maxLength: 5 }),
      memory: fc.constant([])
    })
    .map((header) => ({ kind: 'HEARTBEAT' as const, header })),
  fc.constant({ kind: 'HELLO' as const, header: {} }),
  fc.string().map((reason) => ({ kind: 'BYE' as const, header: { reason } }))
)

function firstImage(side: number): Word {
  const timings = { queue_ms: 0, encode_ms: 0, denoise_ms: 0, decode_ms: 0 }
  return {
    kind: 'RESULT',
    header: { id: 'mine', image: 0, seed: 7, width: side, height: side, timings },
    pixels: side * side * 3
  }
}

it('a worker that sends nonsense can only end its own requests, each once', async () => {
  const server = await startServer({ WORKER: 'connect' })
  const model = startWorker(server.endpoint, 'model')
  await server.pool.firstReady
  const worker = new ScriptedWorker(server.endpoint, 'mad', server.pool.state.workers[0]!.hello)
  model.kill('SIGTERM')
  await until('only the fuzzed worker is connected', () => server.pool.state.workers.length === 0)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(nonsense, garbage), { maxLength: 12 }),
      fc.constantFrom(1, 2),
      async (words, num_images) => {
        await reconnect(server, 'mad', worker)
        const answer = generate(
          server,
          { prompt: 'x', seed: 7, num_images, width: 64, height: 64, guidance_scale: 0 },
          { headers: { accept: 'application/json' } }
        )
        let status: number | undefined
        void answer.then((response) => (status = response.status))
        await until('the worker has the job', () => {
          if (status !== undefined) throw new Error(`answered ${status}`)
          return worker.jobs.length > 0
        })
        const job = worker.jobs[0]!.id
        for (const word of words) {
          if (Array.isArray(word)) await worker.sendFrames(word)
          else if (word.kind === 'HELLO') await worker.hello()
          else
            await worker.send(
              word.kind,
              meant(word.header, job, worker.session),
              ...(word.pixels === undefined ? [] : [Buffer.alloc(word.pixels)])
            )
        }
        let neighbours: number | undefined
        void patient(server, { prompt: 'y', seed: 70, width: 64, height: 64 }).then(
          (response) => (neighbours = response.status)
        )
        await until('both requests have ended', async () => {
          // Lost or draining: a worker that drains gets no work until it says HELLO as a new process.
          if (!server.pool.ready) await worker.hello()
          await worker.finish()
          return status !== undefined && neighbours !== undefined
        })
        expect(neighbours).toBe(200)
        expect([200, 400, 499, 500, 504]).toContain(status)
        expect(server.service.ledger.inFlight).toBe(0)
      }
    ),
    {
      numRuns: 100,
      examples: [
        [[{ kind: 'PROGRESS', header: { id: 'mine', image: 2 ** 31, stage: 'denoising', step: 1, of: 2 } }], 1],
        [[firstImage(8), firstImage(8)], 2],
        [[firstImage(64), firstImage(64)], 2]
      ]
    }
  )
  await until('no job is left', () => server.pool.state.running === 0 && server.pool.state.queued === 0)
  expect(loggedFor(server, 'mad')).toBeLessThanOrEqual(1)
  startWorker(server.endpoint, 'sane')
  await until('the sane worker is connected', () => server.pool.state.workers.some(({ name }) => name === 'sane'))
  expect(server.logs.filter(({ level }) => level >= 60)).toEqual([])
})

/** Replaces `mine` by the real id and session. */
function meant(header: object, id: string, session: string | undefined): object {
  const words = header as { id?: string; session?: string }
  return {
    ...words,
    ...(words.id === 'mine' ? { id } : {}),
    ...(words.session === 'mine' ? { session } : {})
  }
}

/** Repeats a request while no worker is ready. */
async function patient(server: RunningServer, body: object): Promise<Response> {
  for (;;) {
    const response = await generate(server, body)
    if (response.status !== 503) return response
    const { code, message } = (await response.json()) as { code: string; message: string }
    if (code !== 'NOT_READY') throw new Error(`${code}: ${message}`)
  }
}
