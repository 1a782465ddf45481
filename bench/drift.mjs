// @ts-check
// npm run bench:drift: how much images change when operations are skipped or rounded: the demo model's images of held-out
// captions, unchanged and with each variant of python-worker/bench/drift.py. COUNT is the number of captions. TRIAL names a
// program beside drift.py with variants that the worker has no option for.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root, run, script, step } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'
import { tokenize } from '../tools/tokenize.mjs'
import { machine } from '../tools/table.mjs'

const COUNT = process.env['COUNT'] ?? '40'
const program = `bench.${process.env['TRIAL'] ?? 'drift'}`
const cwd = join(root, 'python-worker')
const model = join(root, 'models/demo')

await script(async () => {
  // Scoring the pictures needs one of the tests' packages.
  await setup('test')
  await build()
  const folder = mkdtempSync(join(tmpdir(), 'easel-drift-'))
  try {
    /** @type {string[]} */
    const captions = JSON.parse(
      await run(python, ['-m', program, '--count', COUNT, '--captions'], { cwd, quiet: true })
    )
    const tokens = join(folder, 'tokens.json')
    writeFileSync(tokens, JSON.stringify(await tokenize(model, captions)))
    const printed = await step(`Making ${COUNT} pictures by each variant`, () =>
      run(python, ['-m', program, '--count', COUNT, '--tokens', tokens], { cwd, quiet: true })
    )
    console.log(`\nThe demo model, 25 steps, guidance 1.5, ${COUNT} held-out captions\n${machine()}\n\n${printed}`)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
