// @ts-check
// npm run test:parity: compares the JAX model with diffusers and transformers, live, on fresh random checkpoints.
// Needs torch, which nothing else does: it has a Python environment of its own.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, script, step } from './lib/run.mjs'
import { setup } from './lib/setup.mjs'
import { freshness } from './lib/stamp.mjs'

const worker = join(root, 'python-worker')
const python = join(worker, '.venv-torch/bin/python')
const requirements = 'python-worker/training/requirements.txt'

await script(async () => {
  await setup('runtime')
  const stamp = freshness('python-worker/.venv-torch/.stamp', [requirements, 'python-worker/requirements.lock'])
  if (!stamp.fresh) {
    await step('Installing torch, diffusers and transformers (about 2 GB on disk)', async () => {
      if (!existsSync(python)) await run(join(worker, '.venv/bin/python'), ['-m', 'venv', join(worker, '.venv-torch')], { quiet: true })
      const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
      await run(python, [...install, '--require-hashes', '-r', 'python-worker/requirements.lock'], { quiet: true })
      await run(python, [...install, '-r', requirements], { quiet: true })
      stamp.mark()
    })
  }
  await run(python, ['-m', 'parity.live', ...process.argv.slice(2)], { cwd: worker })
})
