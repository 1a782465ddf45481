// @ts-check
// npm run bench:card -- [--model DIR] [--side N] [--lanes 1,2,4,8]: guided steps, the decoder and images a second on the
// device that jax finds, with its kernels and with plain JAX, beside diffusers where CARD_PYTHON has it. CARD_PYTHON is a
// Python with jax for the card (jax[cuda13]) and the worker's packages, and torch and diffusers for the comparison; by
// default it is the worker's own, which has jax for CPUs. Without arguments: the demo model.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run, runForJson, script, step } from '../tools/run.mjs'
import { python, setup } from '../tools/setup.mjs'
import { machine, table } from '../tools/table.mjs'

const cwd = join(root, 'python-worker')
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: join(root, 'models/demo') },
    side: { type: 'string', default: '256' },
    lanes: { type: 'string', default: '1,2' }
  }
})

await script(async () => {
  await setup('runtime')
  const card = process.env['CARD_PYTHON'] ?? python
  const { model, side, lanes } = values
  const ours = (/** @type {string} */ methods) =>
    runForJson(card, ['-m', 'bench.card.ours', model, '--side', side, '--lanes', lanes, '--methods', methods], { cwd })
  const rows = []
  const fast = await step('Easel', () => ours('auto'))
  rows.push(...rowsOf('Easel', fast, 'lanes_'))
  rows.push(...rowsOf('Easel, plain JAX', await step('Easel, plain JAX', () => ours('plain')), 'lanes_'))
  if (await hasDiffusers(card)) {
    const theirs = (/** @type {string[]} */ ...more) =>
      runForJson(card, ['-m', 'bench.card.theirs', model, '--side', side, '--batches', lanes, ...more], { cwd })
    rows.push(...rowsOf('diffusers', await step('diffusers', () => theirs()), 'batch_'))
    const compiled = await step('diffusers, torch.compile', () => theirs('--compiled', 'default'))
    rows.push(...rowsOf('diffusers, torch.compile of the UNet', compiled, 'batch_'))
  } else console.log('CARD_PYTHON has no torch and diffusers: no comparison')
  console.log(`\n${model}, ${side}×${side}, 20 guided steps\n${fast.device}, jax ${fast.jax}; ${machine()}\n`)
  console.log(table(['what', 'images in a call', 'step ms', 'decode ms', 'images/s'], rows))
})

/**
 * @param {string} what
 * @param {Record<string, any>} found
 * @param {string} prefix of the names of the figures
 */
function rowsOf(what, found, prefix) {
  return Object.entries(found)
    .filter(([name]) => name.startsWith(prefix))
    .map(([name, each]) => [
      what,
      name.slice(prefix.length),
      each.step_ms.toFixed(1),
      each.decode_ms.toFixed(1),
      each.images_per_s.toFixed(2)
    ])
}

/** @param {string} card */
async function hasDiffusers(card) {
  try {
    await run(card, ['-c', 'import torch, diffusers'], { quiet: true })
    return true
  } catch {
    return false
  }
}
