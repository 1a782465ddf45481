// @ts-check
// npm run start:web: installs the Node packages, builds, and serves the web page on port 5000 against SERVER_URL.
import { answered } from './lib/help.mjs'
import { script } from '../tools/run.mjs'
import { serve } from './lib/serve.mjs'
import { build, setup } from '../tools/setup.mjs'

await script(async () => {
  const args = process.argv.slice(2)
  if (answered('page', args)) return
  await setup('web')
  await build()
  await serve('dist/webapp/main.js', args, { LOG_FORMAT: 'pretty' })
})
