import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import sharp from 'sharp'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { curveKeyPair, Dealer } from 'zeromq'
import { loadOptions } from '../../src/gateway-options.js'
import { secretOf } from '../support/receiver.js'
import { generate, metric, openServer, type RunningServer, running } from '../support/server.js'
import { until } from '../support/wait.js'
import { INSTALL_MS } from './manifests.js'
import { autoscaling, dashboardQueries } from './monitoring.js'
import { type RunningPrometheus, startPrometheus } from './prometheus.js'

/** Long enough for all that happens below, so that a rate of the newest minute has seen it. */
const WINDOW = '5m'

const KEY = 'a-key-for-this-test-only'
const authorization = `Bearer ${KEY}`

let server: RunningServer
let prometheus: RunningPrometheus
const ends: (() => Promise<void>)[] = []

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  ends.push(() => rm(folder, { recursive: true }))
  await writeFile(
    join(folder, 'keys.json'),
    JSON.stringify({ keys: [{ name: 'team', key: KEY, webhook_hosts: ['http://127.0.0.1'] }] })
  )
  await writeFile(join(folder, 'ink.safetensors'), 'ink')
  // A model that takes turns, so that its loading is measured.
  const model = { name: 'base', path: loadOptions([], {}).models[0]!.path, device: 'chip' }
  await writeFile(join(folder, 'models.json'), JSON.stringify([model]))
  const opened = await openServer({
    WORKER_ARGS: `--fake-step-ms 20 --fake-merge-ms 5 --loras ${folder}`,
    ACCESS_KEYS: join(folder, 'keys.json'),
    MODELS: join(folder, 'models.json'),
    RESULTS: `file://${folder}/results`,
    WEBHOOK_SECRETS: secretOf(1)
  })
  ends.push(opened.stop)
  ;({ server } = opened)
  await server.pool.firstReady
  prometheus = await startPrometheus(server.url)
  ends.push(prometheus.stop)
  // Twice, with a scrape between: a rate needs two samples of a series.
  for (const round of [1, 2]) {
    await live(round)
    await scraped()
  }
}, INSTALL_MS)

afterAll(async () => {
  for (const end of ends.toReversed()) await end()
})

/** A little of everything that a gateway may live through. */
async function live(round: number): Promise<void> {
  const ask = (body: object, headers = {}) =>
    generate(server, { prompt: 'x', ...body }, { headers: { authorization, ...headers } })
  await Promise.all(Array.from({ length: 4 }, (_, seed) => ask({ seed, num_inference_steps: 3 })))
  for (const _ of [1, 2]) await ask({ seed: 9, num_inference_steps: 3 }, { 'idempotency-key': `again-${round}` })
  expect((await ask({ width: 8 })).status).toBe(400)
  const image = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
    .png()
    .toBuffer()
  expect((await ask({ image: image.toString('base64'), strength: 1, num_inference_steps: 3 })).status).toBe(200)
  expect((await ask({ image: Buffer.from('GIF89a').toString('base64') })).status).toBe(400)
  expect((await ask({ loras: [{ name: 'ink' }], num_inference_steps: 3 })).status).toBe(200)
  const stored = await fetch(`${server.url}/v1/images/generations`, {
    method: 'POST',
    headers: { authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', num_inference_steps: 3, response_format: 'url' })
  })
  expect(stored.status).toBe(200)
  // Nothing listens there, and it may not be asked.
  const attempts = await metric(server, 'easel_webhooks_total')
  expect((await ask({ webhook: 'http://127.0.0.1/' }, { prefer: 'respond-async' })).status).toBe(202)
  await until('its end was tried to be told', async () => (await metric(server, 'easel_webhooks_total')) > attempts)
  await badMessage()
  await badPeer()
  const replayed = ask({ num_inference_steps: 100 })
  await running(server)
  process.kill(server.pool.state.workers[0]!.hello.pid, 'SIGKILL')
  expect((await replayed).status).toBe(200)
}

async function badMessage(): Promise<void> {
  const counted = () => metric(server, 'easel_malformed_messages_total')
  const before = await counted()
  const stranger = new Dealer({ linger: 0 })
  stranger.connect(server.endpoint)
  await stranger.send([Buffer.from([250, 250]), 'garbage'])
  // Closing drops what is still on its way, and without a second one the counter never grows.
  await until('the request is counted', async () => (await counted()) > before)
  stranger.close()
}

/** A peer with keys, on a socket that has none. */
async function badPeer(): Promise<void> {
  const counted = () => metric(server, 'easel_worker_peers_refused_total')
  const before = await counted()
  const { publicKey, secretKey } = curveKeyPair()
  const stranger = new Dealer({
    linger: 0,
    curveServerKey: publicKey,
    curvePublicKey: publicKey,
    curveSecretKey: secretKey
  })
  stranger.connect(server.endpoint)
  await until('it is counted', async () => (await counted()) > before)
  stranger.close()
}

/** Waits for two scrapes more. */
async function scraped(): Promise<void> {
  const count = async () => (await prometheus.query('sum_over_time(up{job="easel"}[1h])'))[0]?.value ?? 0
  const before = await count()
  await until('Prometheus has scraped twice', async () => (await count()) >= before + 2)
}

describe('a real Prometheus', () => {
  it('finds the gateway up', async () => {
    expect(await prometheus.data('up == 1')).toMatchObject([
      { metric: { job: 'easel', namespace: 'easel', pod: 'easel-0' } }
    ])
  })

  it.each(dashboardQueries(WINDOW))('has data for %s', async (_, expr) => {
    expect(await prometheus.data(expr)).not.toEqual([])
  })

  it(
    'has data for the autoscaler',
    async () => {
      const { queries, metrics } = await autoscaling()
      for (const query of [...queries, ...metrics.map(({ name }) => name)])
        expect(await prometheus.data(query)).toHaveLength(1)
    },
    INSTALL_MS
  )

  it('sees what happened', async () => {
    const [lost] = await prometheus.data('sum(easel_workers_lost_total{cause="exited"})')
    const [replays] = await prometheus.data('sum(easel_replays_total)')
    const [law] = await prometheus.data('easel_requests_accepted_total - on (pod) sum by (pod) (easel_requests_total)')
    expect([lost?.value, law?.value]).toEqual([2, 0])
    expect(replays?.value).toBeGreaterThanOrEqual(2)
  })

  it('evaluates every alert, and fires the one that is due', async () => {
    await until('the alert fires', async () => (await prometheus.rules()).some(({ state }) => state === 'firing'))
    const rules = await prometheus.rules()
    expect(rules.filter(({ health }) => health !== 'ok')).toEqual([])
    expect(rules.filter(({ state }) => state === 'firing').map(({ name }) => name)).toEqual(['EaselWireGarbage'])
  })
})
