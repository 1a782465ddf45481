// @ts-check
// Traffic through a gateway apart while workers are killed, frozen and cut off and the gateway is replaced.
import { createHash } from 'node:crypto'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { GAUGES, lawGap, scrape, total } from '../support/metrics.mjs'
import { Scene, WORKERS } from './scene.mjs'

/** How long anything may take before the run gives up, in ms. A busy machine is only slow. */
const PATIENCE_MS = 180_000

/** Answers with which a client may come again: nothing was accepted, or the gateway leaves and says so. */
const AGAIN = new Set([429, 503])

/**
 * @typedef {object} Observed
 * @property {Record<string, number>} ends by status or error code
 * @property {readonly string[]} broken what no client may see
 * @property {Record<string, number>} faults
 * @property {number} lost workers that the gateways lost
 * @property {number} replays
 * @property {number} lawGap
 * @property {number} left in flight, queued or in rows at the end
 * @property {number | null | undefined} retired exit status of the gateway that was replaced
 * @property {readonly string[]} bad
 */

/**
 * @param {import('./cables.mjs').Network} network
 * @param {{ rounds: number, clients: number }} plan
 * @returns {Promise<Observed>}
 */
export async function runApart(network, { rounds, clients }) {
  const scene = await Scene.open(network).catch(async (error) => {
    await network.close()
    throw error
  })
  try {
    return await observe(scene, rounds, clients)
  } catch (error) {
    const places = ['proxy', 'gateway-a', 'gateway-b', ...WORKERS]
    const words = places.map((place) => `--- ${place}\n${scene.said(place).slice(-1500)}`)
    throw new Error(`${/** @type {Error} */ (error).message}\n${words.join('\n')}`, { cause: error })
  } finally {
    await scene.close()
  }
}

/** @param {Scene} scene @param {number} rounds @param {number} clients @returns {Promise<Observed>} */
async function observe(scene, rounds, clients) {
  await until('the proxy leads to the gateway', async () => (await healthOf(scene.url)) !== undefined)
  // Asked before any worker is there, and made as alone: one at a time, with nothing to share a step with.
  const alone = []
  for (const seed of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const { status, body } = await ask(scene.url, seed)
    if (status !== 200) throw new Error(`seed ${seed} alone: ${status} ${body.toString().slice(0, 200)}`)
    alone.push(digestOf(body))
  }
  await ready(scene, 'gateway-a')
  const traffic = new Traffic(scene.url, alone)
  const ended = Promise.all(Array.from({ length: clients }, (_, client) => traffic.client(client)))
  /** @type {Record<string, number>} */
  const faults = { killed: 0, frozen: 0, 'cut off': 0, replaced: 0 }
  for (let round = 0; round < rounds; round++) {
    await struck(scene, traffic, 'killed', faults, async (worker) => {
      scene.signal(worker, 'SIGKILL')
      return async () => undefined
    })
    await struck(scene, traffic, 'frozen', faults, async (worker) => {
      scene.signal(worker, 'SIGSTOP')
      return async () => scene.signal(worker, 'SIGCONT')
    })
    await struck(scene, traffic, 'cut off', faults, async (worker) => {
      await scene.cut(worker)
      return () => scene.mend(worker)
    })
  }
  // A rollout: the new gateway holds requests until the old one ends and the workers come.
  const before = await scrape(scene.urlOf('gateway-a'))
  scene.startGateway('gateway-b')
  await until('the second gateway takes requests', async () => (await healthOf(scene.urlOf('gateway-b'))) !== undefined)
  const retired = await scene.retire('gateway-a')
  faults['replaced'] = 1
  await ready(scene, 'gateway-b')
  await traffic.more(clients)
  traffic.stop()
  await ended
  await until('nothing is left', async () => {
    const samples = await scrape(scene.urlOf('gateway-b'))
    return GAUGES.every((name) => total(samples, name) === 0)
  })
  const after = await scrape(scene.urlOf('gateway-b'))
  const sum = (/** @type {string} */ name) => total(before, name) + total(after, name)
  return {
    ends: traffic.ends,
    broken: traffic.broken,
    faults,
    lost: sum('easel_workers_lost_total'),
    replays: sum('easel_replays_total'),
    lawGap: lawGap(before) + lawGap(after),
    left: GAUGES.reduce((left, name) => left + total(after, name), 0),
    retired,
    bad: scene.bad
  }
}

/**
 * Strikes the busiest worker, waits until the gateway has lost it, mends it, and waits until all are back.
 *
 * @param {Scene} scene
 * @param {Traffic} traffic
 * @param {string} kind
 * @param {Record<string, number>} faults
 * @param {(worker: string) => Promise<() => unknown>} strike
 */
async function struck(scene, traffic, kind, faults, strike) {
  const url = scene.urlOf('gateway-a')
  const lost = async () => total(await scrape(url), 'easel_workers_lost_total')
  const before = await lost()
  /** @type {string | undefined} */
  let worker
  await until('a worker has rows in use', async () => {
    /** @type {{ name: string, rows_in_use: number }[]} */
    const list = (await healthOf(url))?.workers.list ?? []
    worker = list.find(({ rows_in_use: rows }) => rows > 0)?.name
    return worker !== undefined
  })
  const mend = await strike(worker ?? '')
  await until(`the gateway has lost ${worker}, which was ${kind}`, async () => (await lost()) > before)
  await traffic.more(1)
  await mend()
  faults[kind] = (faults[kind] ?? 0) + 1
  await ready(scene, 'gateway-a')
}

/** Clients that ask again and again over kept connections. */
class Traffic {
  /** @type {Record<string, number>} */
  ends = {}
  /** @type {string[]} */
  broken = []
  #url
  #alone
  #stopped = false
  #made = 0

  /** @param {string} url @param {readonly string[]} alone digests of the files, by seed */
  constructor(url, alone) {
    this.#url = url
    this.#alone = alone
  }

  /** @param {number} index */
  async client(index) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (let number = index; !this.#stopped; number++) {
      const seed = number % this.#alone.length
      const answer = await ask(this.#url, seed, agent).catch((error) => {
        this.broken.push(`no answer: ${error.message}`)
        return undefined
      })
      if (answer === undefined) continue
      this.#count(seed, answer)
      if (AGAIN.has(answer.status)) await sleep(50)
    }
    agent.destroy()
  }

  /** Waits until so many more images have been made. @param {number} images */
  more(images) {
    const wanted = this.#made + images
    return until(`${images} more images`, async () => this.#made >= wanted)
  }

  stop() {
    this.#stopped = true
  }

  /** @param {number} seed @param {Answer} answer */
  #count(seed, { status, body }) {
    const end = status === 200 ? 'image' : `${status} ${codeIn(body)}`
    this.ends[end] = (this.ends[end] ?? 0) + 1
    if (status === 200) {
      this.#made += 1
      if (digestOf(body) !== this.#alone[seed]) this.broken.push(`seed ${seed} has other bytes than alone`)
    } else if (!AGAIN.has(status) && !end.endsWith('WORKER_CRASHED'))
      this.broken.push(`${end}: ${body.toString().slice(0, 200)}`)
  }
}

/** @typedef {{ status: number, body: Buffer }} Answer */

/**
 * @param {string} url
 * @param {number} seed
 * @param {http.Agent} [agent]
 * @returns {Promise<Answer>}
 */
function ask(url, seed, agent) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'image/png' },
      timeout: PATIENCE_MS,
      ...(agent && { agent })
    })
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', reject)
    request.on('response', (response) => {
      /** @type {Buffer[]} */
      const chunks = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }))
    })
    request.end(
      JSON.stringify({ prompt: 'a gateway apart', seed, width: 64, height: 64, num_inference_steps: 10 + seed })
    )
  })
}

/** @param {Scene} scene @param {'gateway-a' | 'gateway-b'} gateway */
function ready(scene, gateway) {
  return until(
    `${gateway} has all workers`,
    async () => (await healthOf(scene.urlOf(gateway)))?.workers.ready === WORKERS.length
  )
}

/** @param {string} url @returns {Promise<any>} what GET /health says; undefined unless requests are taken */
async function healthOf(url) {
  const response = await fetch(`${url}/health`).catch(() => undefined)
  return response?.status === 200 ? response.json() : undefined
}

/** @param {Buffer} body */
function codeIn(body) {
  return /"code":"(\w+)"/.exec(body.toString())?.[1] ?? 'without a code'
}

/** @param {Buffer} body */
function digestOf(body) {
  return createHash('sha256').update(body).digest('hex')
}

/** @param {string} what @param {() => Promise<boolean>} condition */
async function until(what, condition) {
  const end = performance.now() + PATIENCE_MS
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`timed out waiting until ${what}`)
    await sleep(100)
  }
}
