// @ts-check
// npm start: installs both sides, builds, and serves the embedded demo model, or the one that the options name.
import { join } from 'node:path'
import { answered } from './lib/help.mjs'
import { withLocalModel } from './lib/model.mjs'
import { root, script } from '../tools/run.mjs'
import { serve } from './lib/serve.mjs'
import { build, setup } from '../tools/setup.mjs'

await script(async () => {
  const given = process.argv.slice(2)
  if (answered('gateway', given)) return
  await setup('runtime')
  await build()
  const args = await withLocalModel(given, process.env)
  // Later starts and restarted workers reuse the compiled programs.
  await serve('dist/main.js', args, { LOG_FORMAT: 'pretty', COMPILE_CACHE: join(root, '.cache/compile') })
})
