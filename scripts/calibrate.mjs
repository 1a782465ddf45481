// @ts-check
// npm run calibrate -- --model FOLDER [--prompts FILE] [--steps N] [--to FILE]: measures how large a model's activations are,
// which QUANTIZATION=int8 needs, and writes the result beside the model. Prompts come from FILE, one per line; by default from
// the model's calibration_prompts.txt, else from this folder's. A full-size model needs an accelerator.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { root, run, script, StepError } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'
import { tokenize } from '../tools/tokenize.mjs'

const PROMPTS = 'calibration_prompts.txt'

await script(async () => {
  const { model, prompts, rest } = options()
  if (!existsSync(prompts))
    throw new StepError(`${prompts} is missing. Pass --prompts with a file that has one prompt per line`)
  await setup('runtime')
  await build()
  const folder = mkdtempSync(join(tmpdir(), 'easel-calibrate-'))
  try {
    const tokens = join(folder, 'tokens.json')
    writeFileSync(tokens, JSON.stringify(await tokenize(model, read(prompts))))
    await run(python, ['-m', 'easel_worker.calibrate', '--model', model, '--tokens', tokens, ...rest], {
      cwd: join(root, 'python-worker')
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

function options() {
  try {
    const { values } = parseArgs({
      options: {
        model: { type: 'string' },
        prompts: { type: 'string' },
        steps: { type: 'string' },
        to: { type: 'string' }
      }
    })
    const model = resolve(values.model ?? join(root, 'models/demo'))
    const own = join(model, PROMPTS)
    const prompts = values.prompts ?? (existsSync(own) ? own : join(root, 'scripts', PROMPTS))
    const rest = [
      ...(values.steps ? ['--steps', values.steps] : []),
      ...(values.to ? ['--to', resolve(values.to)] : [])
    ]
    return { model, prompts, rest }
  } catch (error) {
    throw new StepError(
      `${/** @type {Error} */ (error).message}; usage: npm run calibrate -- [--model FOLDER] [--prompts FILE] [--steps N] [--to FILE]`
    )
  }
}

/** @param {string} file prompts, one per line */
function read(file) {
  const lines = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
  if (lines.length === 0) throw new StepError(`${file} has no prompts. Write one prompt per line`)
  return lines
}
