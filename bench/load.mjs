// @ts-check
// npm run bench:load: how long requests wait under open-loop traffic with mixed step counts and sizes: with our step
// scheduling, one request at a time, and whole-request batching. All three use the same gateway, wire and fake engine,
// and get the same requests at the same times; they differ only in the worker's scheduler
// (python-worker/bench/policies.py). Settings: REQUESTS, BACKLOG, SPEED, ROWS, LOADS. ENGINE=sdxl or ENGINE=maxdiffusion
// measures the device that jax finds instead of the fake one, one system after the other, with MODEL, PYTHON and the
// engine's own variables; SIDES multiplies the images' sides (8: 1024², 768² and 512²).
import { join } from 'node:path'
import { root, script } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'
import { send, startSystem } from './lib/system.mjs'
import { machine, quantile, table } from '../tools/table.mjs'
import { arrivals, DEVICE, deviceOptions } from './lib/workload.mjs'

/** Requests per load. */
const REQUESTS = Number(process.env['REQUESTS'] ?? 500)
/** How many times faster the fake device is than the real one. */
const SPEED = Number(process.env['SPEED'] ?? 8)
/** Rows per step, for policies that do not run single images. */
const ROWS = Number(process.env['ROWS'] ?? 32)
/** Loads, relative to the throughput of one request at a time. */
const LOADS = (process.env['LOADS'] ?? '0.5,0.8,0.95').split(',').map(Number)
const ENGINE = process.env['ENGINE'] ?? 'fake'
const FAKE = ENGINE === 'fake'
const MODEL = process.env['MODEL'] ?? join(root, 'models/demo')
const PYTHON = process.env['PYTHON'] ?? python
/** How many times as large images are, for a real engine. */
const SIDES = FAKE ? 1 : Number(process.env['SIDES'] ?? 1)
/** Requests sent at once, to measure a system's throughput. */
const BACKLOG = Number(process.env['BACKLOG'] ?? Math.max(100, Math.round(REQUESTS / 3)))

/** The other policies get the whole queue to choose from; ours runs as it is deployed. */
const WHOLE_QUEUE = 1_000_000
/** @type {import('./lib/system.mjs').Policy[]} */
const SYSTEMS = [
  { title: 'one request at a time', policy: 'single', rows: 2, offered: WHOLE_QUEUE },
  { title: 'whole-request batching', policy: 'batches', rows: ROWS, offered: WHOLE_QUEUE },
  { title: 'ours: step scheduling', policy: 'steps', rows: ROWS, offered: ROWS }
]

const SIZES = DEVICE.map(({ width, height }) => `${width * SIDES}x${height * SIDES}`)
const REAL = ['--engine', ENGINE, '--model', MODEL, '--sizes', SIZES.join(',')]
REAL.push('--max-prompt-chunks', '1', '--image-inputs', 'false')

/** @typedef {{ wait: number[], first: number[], total: number[], perSecond: number }} Measured times in ms */

await script(async () => {
  await setup('runtime')
  await build()
  console.log(`\n${machine()}`)
  console.log(
    FAKE
      ? `Fake device: one TPU v5e chip with SDXL base as computed in bench/lib/workload.mjs, ${SPEED}× faster. Sizes ${DEVICE.map(({ stands }) => stands).join(', ')}; 4 to 40 steps; 4 of 5 guided; ${ROWS} rows a step.`
      : `The engine ${ENGINE} with ${MODEL}, on the device that jax finds. Sizes ${SIZES.join(', ')}; 4 to 40 steps; 4 of 5 guided; ${ROWS} rows a step.`
  )
  const capacity = await measureAll(arrivals({ seed: 1, count: BACKLOG, perSecond: Infinity }))
  const base = /** @type {Measured} */ (capacity[0]).perSecond
  const rows = capacity.map((measured, index) => cells(`all ${BACKLOG} at once`, index, measured))
  const ratios = []
  for (const load of LOADS) {
    const measured = await measureAll(arrivals({ seed: 2, count: REQUESTS, perSecond: load * base }))
    rows.push(...measured.map((each, index) => cells(`${Math.round(load * 100)} %`, index, each)))
    const [single = NaN, , ours = NaN] = measured.map(({ first }) => quantile(first, 0.99))
    ratios.push(`${(single / ours).toFixed(1)}× at ${Math.round(load * 100)} %`)
  }
  console.log(
    `Load is Poisson arrivals, ${REQUESTS} requests, in % of the ${base.toFixed(2)} images/s that one request at a time reaches with a backlog. Times in ms, measured${FAKE ? ` (not multiplied by ${SPEED})` : ''}.\n`
  )
  console.log(
    table(['load', 'system', 'queue wait p50', 'p99', 'first step p50', 'p99', 'total p50', 'p99', 'images/s'], rows)
  )
  const [, batches = NaN, ours = NaN] = capacity.map(({ perSecond }) => perSecond)
  console.log(`\nFirst-step wait p99, one request at a time against ours: ${ratios.join(', ')}.`)
  console.log(`Images/s with a backlog, ours relative to whole-request batching: ${(ours / batches).toFixed(3)}×.`)
})

/**
 * Sends the same requests to every system: to those with a fake device at the same time, so that other load on the machine
 * affects all equally; to those with a real device one after the other.
 *
 * @param {import('./lib/workload.mjs').Arrival[]} given
 */
async function measureAll(given) {
  const requests = given.map(({ at, body }) => ({
    at,
    body: { ...body, width: Number(body['width']) * SIDES, height: Number(body['height']) * SIDES }
  }))
  if (!FAKE) {
    const all = []
    for (const each of SYSTEMS) {
      const system = await startSystem(each, PYTHON, REAL)
      all.push(await measure(system, requests).finally(() => system.stop()))
    }
    return all
  }
  const fake = ['--engine', ENGINE, '--model', MODEL, ...deviceOptions(SPEED)]
  const systems = await Promise.all(SYSTEMS.map((system) => startSystem(system, PYTHON, fake)))
  try {
    return await Promise.all(systems.map((system) => measure(system, requests)))
  } finally {
    await Promise.all(systems.map((system) => system.stop()))
  }
}

/**
 * @param {Awaited<ReturnType<typeof startSystem>>} system
 * @param {import('./lib/workload.mjs').Arrival[]} requests
 * @returns {Promise<Measured>}
 */
async function measure(system, requests) {
  const answers = await send(system.url, requests)
  const images = await system.images()
  const times = answers.map(({ sent, answered }, seed) => {
    const { begun, stepped } = /** @type {{ begun: number, stepped: number }} */ (images.get(seed))
    return { wait: begun - sent, first: stepped - sent, total: answered - sent }
  })
  const elapsed = Math.max(...answers.map(({ answered }) => answered)) - Math.min(...answers.map(({ sent }) => sent))
  return {
    wait: times.map(({ wait }) => wait),
    first: times.map(({ first }) => first),
    total: times.map(({ total }) => total),
    perSecond: (answers.length / elapsed) * 1000
  }
}

/**
 * @param {string} load
 * @param {number} index of the system
 * @param {Measured} measured
 */
function cells(load, index, { wait, first, total, perSecond }) {
  const times = [wait, first, total].flatMap((values) => [
    quantile(values, 0.5).toFixed(0),
    quantile(values, 0.99).toFixed(0)
  ])
  return [load, SYSTEMS[index]?.title ?? '', ...times, perSecond.toFixed(2)]
}
