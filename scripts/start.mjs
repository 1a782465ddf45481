// @ts-check
// npm start: installs both sides, builds, and serves the embedded demo model (or what the options say).
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { withLocalModel } from './lib/model.mjs'
import { root, script } from './lib/run.mjs'
import { build, setup } from './lib/setup.mjs'

await script(async () => {
  await setup('runtime')
  await build()
  const args = await withLocalModel(process.argv.slice(2), process.env)
  const server = spawn(process.execPath, [join(root, 'dist/main.js'), ...args], {
    stdio: 'inherit',
    env: {
      ...process.env,
      LOG_FORMAT: process.env['LOG_FORMAT'] || 'pretty',
      // The second start, and a restarted worker, find their programs compiled.
      COMPILE_CACHE: process.env['COMPILE_CACHE'] || join(root, '.cache/compile')
    }
  })
  // Ctrl-C reaches the server too, as it shares the terminal; only signals to this process alone are passed on.
  process.on('SIGINT', () => undefined)
  process.on('SIGTERM', () => server.kill('SIGTERM'))
  server.once('exit', (code, signal) => { process.exitCode = signal === null ? (code ?? 1) : 1 })
})
