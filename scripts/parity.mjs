// @ts-check
// npm run test:parity: compares the JAX model with diffusers and transformers, live, on fresh random checkpoints.
// Needs torch, which has a Python environment of its own because nothing else needs it.
import { join } from 'node:path'
import { root, run, script } from '../tools/run.mjs'
import { setup } from '../tools/setup.mjs'
import { torchPython } from './lib/torch.mjs'

await script(async () => {
  await setup('runtime')
  await run(await torchPython(), ['-m', 'parity.live', ...process.argv.slice(2)], { cwd: join(root, 'python-worker') })
})
