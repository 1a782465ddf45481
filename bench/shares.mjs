// @ts-check
// npm run bench:shares: how long one request of 0.9 s waits beside another caller's forty, when all are one caller and when
// each has an access key. The fake engine simulates a chip (bench/lib/workload.mjs). Settings: REQUESTS, SPEED, ROWS.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { script, StepError } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'
import { machine, table } from '../tools/table.mjs'
import { startGateway } from './lib/gateway.mjs'
import { DEVICE, deviceOptions } from './lib/workload.mjs'

/** Requests of the one who sends many. */
const REQUESTS = Number(process.env['REQUESTS'] ?? 40)
/** How many times faster the fake device is than the real one. */
const SPEED = Number(process.env['SPEED'] ?? 4)
const ROWS = Number(process.env['ROWS'] ?? 32)

const KEYS = { many: 'the-key-of-forty-requests', one: 'the-key-of-one-request' }
const LARGE = /** @type {typeof DEVICE[number]} */ (DEVICE[0])
const { width, height } = LARGE
const MANY = { prompt: 'a lighthouse on a cliff at dusk', num_inference_steps: 20, guidance_scale: 5, width, height }
/** 0.9 s on the device when nobody else is there. */
const ONE = { ...MANY, num_inference_steps: 7 }

await script(async () => {
  await setup('runtime')
  await build()
  const folder = await mkdtemp(join(tmpdir(), 'easel-shares-'))
  try {
    const keys = join(folder, 'keys.json')
    await writeFile(keys, JSON.stringify({ keys: Object.entries(KEYS).map(([name, key]) => ({ name, key })) }))
    const rows = [await measure('one caller', {}), await measure('a key for each', { ACCESS_KEYS: keys })]
    console.log(
      `\n${machine()}\nFake device: one TPU v5e chip with SDXL base as computed in bench/lib/workload.mjs, ${SPEED}× faster, ${ROWS} rows a step; ${REQUESTS} requests of 20 steps at 1024², and after a quarter of their time one of 7 steps. Seconds of the real device: measured ones times ${SPEED}.\n`
    )
    console.log(table(['callers', 'the one alone', 'beside the others', 'times', 'the others together'], rows))
  } finally {
    await rm(folder, { recursive: true })
  }
})

/**
 * @param {string} title
 * @param {Record<string, string>} env
 */
async function measure(title, env) {
  const options = ['--rows', String(ROWS), ...deviceOptions(SPEED)].join(' ')
  const { url, stop } = await startGateway(options, {
    DEFAULT_WIDTH: String(width),
    DEFAULT_HEIGHT: String(height),
    ...env
  })
  try {
    const alone = await seconds(url, KEYS.one, ONE)
    const start = performance.now()
    const others = Promise.all(
      Array.from({ length: REQUESTS }, (_, seed) => seconds(url, KEYS.many, { ...MANY, seed }))
    )
    const chip = (REQUESTS * 20 * (LARGE.fixedMs + 2 * LARGE.rowMs)) / SPEED
    await new Promise((resolve) => setTimeout(resolve, chip / 4))
    const beside = await seconds(url, KEYS.one, ONE)
    await others
    const all = (performance.now() - start) / 1000
    const real = [alone, beside].map((value) => (value * SPEED).toFixed(1))
    return [title, ...real, (beside / alone).toFixed(1), (all * SPEED).toFixed(0)]
  } finally {
    await stop()
  }
}

/**
 * @param {string} url
 * @param {string} key
 * @param {object} body
 */
async function seconds(url, key, body) {
  const start = performance.now()
  const response = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify(body)
  })
  const image = await response.arrayBuffer()
  if (response.status !== 200) throw new StepError(`status ${response.status}: ${Buffer.from(image)}`)
  return (performance.now() - start) / 1000
}
