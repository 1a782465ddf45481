// @ts-check
// npm run start:web: installs the Node packages, builds, and serves the web page on port 5000 against SERVER_URL.
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { root, script } from './lib/run.mjs'
import { build, setup } from './lib/setup.mjs'

await script(async () => {
  await setup('web')
  await build()
  const web = spawn(process.execPath, [join(root, 'dist/webapp/main.js'), ...process.argv.slice(2)], {
    stdio: 'inherit',
    env: { ...process.env, LOG_FORMAT: process.env['LOG_FORMAT'] || 'pretty' }
  })
  // Ctrl-C reaches the page's process too, as it shares the terminal; only signals to this process alone are passed on.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => web.kill('SIGTERM'))
  web.once('exit', (code, signal) => { process.exitCode = signal === null ? (code ?? 1) : 1 })
})
