// @ts-check
// The Python environment with torch, diffusers and transformers, which nothing but comparisons with them needs.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, step } from './run.mjs'
import { freshness } from './stamp.mjs'

const worker = join(root, 'python-worker')
const python = join(worker, '.venv-torch/bin/python')
const requirements = 'python-worker/training/requirements.txt'

/**
 * Its Python, installed as the lists of requirements say. Needs the worker's own environment.
 *
 * @returns {Promise<string>}
 */
export async function torchPython() {
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
  return python
}
