// @ts-check
// npm run setup: installs what `npm start` needs and builds; with --test, also what `npm test` needs.
import { script } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'

await script(async () => {
  await setup(process.argv.includes('--test') ? 'test' : 'runtime')
  await build()
})
