// @ts-check
// npm run bench:chip -- [--model DIR] [--side N] [--out DIR]: all that the first hour on a new device should tell, in one
// report: what is there, kernels beside plain JAX on the same seeds, the int8 check, programs from another machine, the
// service under load, and diffusers and MaxDiffusion beside it where they are installed. CARD_PYTHON is as for bench:card,
// and MAXDIFFUSION as for the worker. Safe to abort: the same command goes on where it stopped. Without arguments: the demo
// model.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run, runForJson, script, StepError } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'
import { machine, quantile } from '../tools/table.mjs'
import { report } from './lib/chip-report.mjs'
import { startGateway } from './lib/gateway.mjs'
import { load } from './lib/http-load.mjs'
import { Parts } from './lib/parts.mjs'
import { measurePower } from './lib/power.mjs'

const HELP = `usage: npm run bench:chip -- [options]

  --model DIR        a diffusers folder or a single file (default: the demo model)
  --side N           pixels along an image's sides (default: 256; SDXL base: 1024)
  --lanes 1,2        numbers of images in a call
  --clients 1,4,16   numbers of clients of the service
  --seconds N        how long each number of clients sends requests (default: 20)
  --artifacts DIR    programs that easel-compile --write made on another machine
  --trace DIR        write the profiler's trace of one image
  --price USD        what the device costs in an hour, to tell the price of 1,000 images
  --minutes N        begin nothing after this time (default: 30)
  --out DIR          for report.md, report.json and the parts (default: .cache/bench-chip)
`
/** Below this, images made by two sets of kernels count as different, and the layers are compared. */
const ALIKE_DB = 30
const STEPS = 20
/**
 * MaxDiffusion's settings: the part's name and title, its attention, and from how many tokens on. The first is its default.
 *
 * @type {[[string, string, string, string], ...[string, string, string, string][]]}
 */
const MAXDIFFUSION = [
  ['maxdiffusion', 'MaxDiffusion', 'dot_product', '4096'],
  ['maxdiffusion-flash', 'MaxDiffusion, flash attention', 'flash', '4096'],
  ['maxdiffusion-flash-1024', 'MaxDiffusion, flash attention from 1024 tokens', 'flash', '1024']
]

const cwd = join(root, 'python-worker')
const { values } = parseArgs({
  options: {
    help: { type: 'boolean', short: 'h' },
    model: { type: 'string', default: join(root, 'models/demo') },
    side: { type: 'string', default: '256' },
    lanes: { type: 'string', default: '1,2' },
    clients: { type: 'string', default: '1,4,16' },
    seconds: { type: 'string', default: '20' },
    artifacts: { type: 'string' },
    trace: { type: 'string' },
    price: { type: 'string' },
    minutes: { type: 'string', default: '30' },
    out: { type: 'string', default: join(root, '.cache/bench-chip') }
  }
})
const model = resolve(values.model)
const out = resolve(values.out)
const { side, lanes } = values
const clients = values.clients.split(',').map(Number)
const [seconds, minutes] = [Number(values.seconds), Number(values.minutes)]
const card = process.env['CARD_PYTHON'] ?? python

await script(async () => {
  if (values.help === true) {
    process.stdout.write(HELP)
    return
  }
  for (const [name, value] of Object.entries({ side, lanes, clients: values.clients, seconds, minutes }))
    if (
      !String(value)
        .split(',')
        .every((each) => Number(each) > 0)
    )
      throw new StepError(`--${name} must be a number above 0, or several joined by commas: ${value}`)
  await setup('runtime')
  await build()
  mkdirSync(out, { recursive: true })
  const device = await python3('bench.chip.device', [])
  const parts = new Parts(join(out, 'parts'), { ...known(), device }, minutes * 60)
  await measure(parts, device)
  const found = {
    ...known(),
    made: new Date().toISOString(),
    machine: machine(),
    price: values.price === undefined ? null : Number(values.price),
    steps: STEPS,
    alikeDb: ALIKE_DB,
    device,
    parts: Object.fromEntries(parts.outcomes)
  }
  writeFileSync(join(out, 'report.json'), `${JSON.stringify(found, null, 2)}\n`)
  const text = report(found)
  writeFileSync(join(out, 'report.md'), text)
  process.stdout.write(`\n${text}\nWritten to ${join(out, 'report.md')} and report.json\n`)
  const failed = [...parts.outcomes].filter(([, outcome]) => 'error' in outcome).map(([name]) => name)
  if (failed.length > 0) throw new StepError(`Failed: ${failed.join(', ')}`)
})

/** What decides the results besides the device: results of other values are not used again. */
function known() {
  const commit = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).trim()
  return { model, side: Number(side), lanes, clients, seconds, artifacts: values.artifacts ?? null, commit }
}

/**
 * @param {Parts} parts
 * @param {{ platform: string }} device
 */
async function measure(parts, device) {
  const pixels = (/** @type {string} */ methods) => join(out, 'parts', `${methods}.npz`)
  const ours = (/** @type {string} */ methods, /** @type {string[]} */ ...more) =>
    parts.run(methods, `The model, METHODS=${methods}`, (time) =>
      python3(
        'bench.card.ours',
        flags('--lanes', lanes, '--methods', methods, '--pixels', pixels(methods), ...more),
        time
      )
    )
  const fast = await ours('auto', ...(values.trace === undefined ? [] : ['--trace', resolve(values.trace)]))
  const plain = await ours('plain')
  if (fast !== undefined && plain !== undefined) {
    const alike = await parts.run('alike', 'The same images by both', () =>
      python3('bench.chip.compare', [pixels('auto'), pixels('plain')])
    )
    const decibels = Object.values(alike ?? {}).map((value) => value ?? Infinity)
    if (Math.min(...decibels) < ALIKE_DB)
      await parts.run('layers', 'The layers that differ', (time) => python3('bench.chip.layers', flags(), time))
    else parts.skip('layers', `the images are alike (${ALIKE_DB} dB or more)`)
  }
  await parts.run('int8', 'How the int8 kernels round', (time) => python3('bench.chip.int8', [], time))
  const { artifacts } = values
  if (artifacts === undefined) parts.skip('artifacts', 'no --artifacts')
  else
    await parts.run('artifacts', 'Programs from another machine', (time) =>
      python3('bench.chip.artifacts', [model, resolve(artifacts), '--side', side], time)
    )
  await parts.run('service', 'The service', (time) => serve(time, 'sdxl'))
  await maxdiffusion(parts, device.platform, pixels)
  if (!(await has('import torch, diffusers'))) parts.skip('diffusers', `${card} has no torch and diffusers`)
  else
    await parts.run('diffusers', 'diffusers', (time) => python3('bench.card.theirs', flags('--batches', lanes), time))
  if (device.platform === 'gpu')
    await parts.run('diffusers-compiled', 'diffusers with torch.compile', (time) =>
      python3('bench.card.theirs', flags('--batches', lanes, '--compiled', 'default'), time)
    )
  else parts.skip('diffusers-compiled', 'torch.compile is tried on GPUs')
}

/**
 * MaxDiffusion's UNet in our engine, and our service with it.
 *
 * @param {Parts} parts
 * @param {string} platform
 * @param {(name: string) => string} pixels the file of a part's images
 */
async function maxdiffusion(parts, platform, pixels) {
  const installed = Boolean(process.env['MAXDIFFUSION']) || (await has('import maxdiffusion'))
  for (const [name, title, attention, tokens] of MAXDIFFUSION) {
    if (!installed) parts.skip(name, `MAXDIFFUSION is not set, and ${card} has no maxdiffusion`)
    else if (attention !== 'dot_product' && platform !== 'tpu') parts.skip(name, `${attention} attention is for TPUs`)
    else
      await parts.run(name, title, (time) =>
        python3(
          'bench.card.ours',
          [
            ...flags('--lanes', lanes, '--maxdiffusion', attention),
            '--flash-min-tokens',
            tokens,
            '--pixels',
            pixels(name)
          ],
          time
        )
      )
  }
  const [name] = MAXDIFFUSION[0]
  const outcome = parts.outcomes.get(name)
  if (outcome === undefined || !('result' in outcome)) return
  await parts.run('maxdiffusion-alike', "MaxDiffusion's images beside ours", () =>
    python3('bench.chip.compare', [pixels('plain'), pixels(name)])
  )
  await parts.run('maxdiffusion-service', 'The service with MaxDiffusion', (time) => serve(time, 'maxdiffusion'))
}

/** @param {...string} more */
function flags(...more) {
  return [model, '--side', side, ...more]
}

/**
 * @param {string} module
 * @param {string[]} args
 * @param {number} [timeout] ms
 */
function python3(module, args, timeout) {
  return runForJson(card, ['-m', module, ...args], { cwd, ...(timeout !== undefined && { timeout }) })
}

/** @param {string} code */
async function has(code) {
  return run(card, ['-c', code], { quiet: true }).then(
    () => true,
    () => false
  )
}

/**
 * Images through the gateway, as clients see them.
 *
 * @param {number} time ms that are left
 * @param {'sdxl' | 'maxdiffusion'} engine
 */
async function serve(time, engine) {
  const gateway = await startGateway('', {
    ENGINE: engine,
    MODEL: model,
    PYTHON: card,
    SIZES: `${side}x${side}`,
    MAX_PROMPT_CHUNKS: '1',
    IMAGE_INPUTS: 'false',
    START_TIMEOUT: String(Math.ceil(time / 1000))
  })
  try {
    const body = {
      prompt: 'a red circle on a blue background',
      width: Number(side),
      height: Number(side),
      num_inference_steps: STEPS,
      guidance_scale: 5,
      scheduler: 'euler'
    }
    await compiled(gateway.url, time)
    await load(gateway.url, { clients: 1, seconds: 1, body })
    const rows = []
    for (const count of clients) {
      const power = measurePower()
      const seen = await load(gateway.url, { clients: count, seconds, body })
      rows.push({
        clients: count,
        images: seen.latencies.length,
        images_per_s: seen.rate,
        p50_ms: quantile(seen.latencies, 0.5),
        p99_ms: quantile(seen.latencies, 0.99),
        health_p99_ms: quantile(seen.health, 0.99),
        watts: await power.mean()
      })
    }
    return rows
  } finally {
    await gateway.stop()
  }
}

/**
 * Waits until nothing is compiled any more: it would take the processors that the measured images need.
 *
 * @param {string} url
 * @param {number} time ms that are left
 */
async function compiled(url, time) {
  const end = performance.now() + time
  for (;;) {
    const health = /** @type {any} */ (await (await fetch(`${url}/health`)).json())
    const { coming, coming_features: features, max_chunks: now, coming_max_chunks: later } = health
    const waiting = coming.length > 0 || features.length > 0 || later > now
    if (!waiting) {
      if (health.sizes.some((/** @type {number[]} */ size) => size.every((each) => each === Number(side)))) return
      throw new StepError(`The model cannot make ${side}×${side}, only ${health.sizes.join(' and ')}: change --side`)
    }
    if (performance.now() > end) throw new StepError('Programs were still being compiled when the time was over')
    await new Promise((done) => setTimeout(done, 500))
  }
}
