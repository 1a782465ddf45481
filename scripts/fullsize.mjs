// @ts-check
// npm run fullsize: SDXL base at full size, on CPU. Writes a random checkpoint (7 GB) if it does not exist, loads it,
// compares one UNet forward and one VAE decode with diffusers, and makes one image through the real gateway. Linux only: it
// reads /proc. FULLSIZE_DIR is the checkpoint's folder. Needs 12 GB of memory.
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { setPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startChild } from '../tools/children.mjs'
import { machine, table } from '../tools/table.mjs'
import { readyAddress } from '../tools/gateway.mjs'
import { root, run, runForJson, script, step, StepError } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'
import { torchPython } from './lib/torch.mjs'

const cwd = join(root, 'python-worker')
const folder = process.env['FULLSIZE_DIR'] ?? join(tmpdir(), 'easel-fullsize')
const singleFile = process.argv.includes('--single-file')
const model = join(folder, singleFile ? 'sdxl-base-random-single' : 'sdxl-base-random')
const SIDE = 256
const NEEDED_GB = 12
/** The most memory that loading may take, relative to the weights' size. */
const MOST = 1.3

const COMPARED = [
  ['unet', 'bfloat16'],
  ['unet', 'float32'],
  ['vae', 'bfloat16'],
  ['vae', 'float32']
]

const env = {
  ...process.env,
  JAX_PLATFORMS: 'cpu',
  // XLA computes bfloat16 in float32 on CPUs. Its default scheduler converts all weights early, which takes 10 GB more.
  XLA_FLAGS: '--xla_cpu_enable_concurrency_optimized_scheduler=false'
}

await script(async () => {
  setPriority(10)
  await setup('runtime')
  await build()
  const torch = await torchPython()
  mkdirSync(folder, { recursive: true })
  await step(`Writing ${model} unless it exists`, () =>
    run(python, ['-m', 'parity.fullsize.checkpoint', model, ...(singleFile ? ['--single-file'] : [])], { cwd, env })
  )
  checkMemory()
  const load = await step('Loading it in bfloat16', () =>
    runForJson(python, ['-m', 'parity.fullsize.load', model], { cwd, env })
  )
  const reference = join(folder, 'diffusers.npz')
  await step('Running diffusers in float32', () =>
    run(torch, ['-m', 'parity.fullsize.theirs', model, reference], { cwd, env, quiet: true })
  )
  const compared = await step('Comparing', () =>
    inTurn(COMPARED, (part) =>
      runForJson(python, ['-m', 'parity.fullsize.ours', model, reference, ...part], { cwd, env })
    )
  )
  const image = await step(`Making a picture of ${SIDE}×${SIDE} through the gateway`, picture)
  print(load, compared, image)
  if (load.load_peak_bytes > MOST * load.weights_bytes)
    throw new StepError(`loading took more than ${MOST} times the weights' memory`)
  if (compared.some(({ measured, limit }) => !(measured <= limit)))
    throw new StepError('at least one output differs too much from diffusers')
})

function checkMemory() {
  const free = Number(/^MemAvailable:\s+(\d+) kB$/m.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) / 1e6
  if (free < NEEDED_GB)
    throw new StepError(`${free.toFixed(1)} GB of memory are available, but the UNet in float32 needs ${NEEDED_GB}`)
}

/**
 * @template T, R
 * @param {readonly T[]} values
 * @param {(value: T) => Promise<R>} work
 */
async function inTurn(values, work) {
  const results = []
  for (const value of values) results.push(await work(value))
  return results
}

/** Makes one guided image of two steps with the gateway as it is deployed. */
async function picture() {
  const start = performance.now()
  const server = startChild(
    process.execPath,
    [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0', '--model', model],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        ...env,
        DTYPE: 'bfloat16',
        COMPILE_CACHE: join(folder, 'programs'),
        LOG_FORMAT: 'json',
        LOG_LEVEL: 'info',
        REQUEST_TIMEOUT: '3600',
        STEP_TIMEOUT: '3600',
        START_TIMEOUT: '7200'
      }
    }
  )
  try {
    const url = await readyAddress(server)
    const ready = performance.now()
    const worker = Number(readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8'))
    const response = await fetch(`${url}/generate`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        prompt: 'a lighthouse on a cliff at dusk',
        seed: 1,
        width: SIDE,
        height: SIDE,
        num_inference_steps: 2,
        guidance_scale: 5
      }),
      signal: AbortSignal.timeout(3_600_000)
    })
    const file = Buffer.from(await response.arrayBuffer())
    if (response.status !== 200) throw new StepError(`status ${response.status}: ${file}`)
    const size = [file.readUInt32BE(16), file.readUInt32BE(20)]
    if (size.some((side) => side !== SIDE)) throw new StepError(`the picture is ${size.join('×')}`)
    return {
      startS: (ready - start) / 1000,
      imageS: (performance.now() - ready) / 1000,
      timing: response.headers.get('server-timing') ?? '',
      peakBytes: peakOf(worker)
    }
  } finally {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
}

/** @param {number} pid */
function peakOf(pid) {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}

/**
 * @param {any} load
 * @param {any[]} compared
 * @param {Awaited<ReturnType<typeof picture>>} image
 */
function print(load, compared, image) {
  const gb = (/** @type {number} */ bytes) => (bytes / 1e9).toFixed(2)
  const { weights_bytes: weights, load_s: loadS, load_peak_bytes: loadPeak } = load
  const rows = [
    [
      'load all in bfloat16',
      loadS.toFixed(1),
      gb(weights),
      gb(loadPeak),
      `${(loadPeak / weights).toFixed(2)} × the weights (limit ${MOST})`
    ],
    ...compared.map((c) => [
      `${c.part} in ${c.dtype}, load and run`,
      (c.load_s + c.run_s).toFixed(1),
      gb(c.weights_bytes),
      gb(c.peak_bytes),
      `RMS difference from diffusers, relative: ${c.measured.toExponential(1)} (limit ${c.limit.toExponential(0)})`
    ]),
    ['worker: start to ready', image.startS.toFixed(1), gb(weights), '', ''],
    [
      `worker: image of ${SIDE}×${SIDE}, 2 guided steps`,
      image.imageS.toFixed(1),
      gb(weights),
      gb(image.peakBytes),
      image.timing
    ]
  ]
  console.log(`\nSDXL base at full size, random weights\n${machine()}\n`)
  console.log(table(['what', 'seconds', 'weights GB', 'peak GB', ''], rows))
}
