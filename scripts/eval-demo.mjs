// @ts-check
// npm run eval:demo: measures how well the demo model follows prompts that training never saw, through the real gateway.
// Prints the table and writes a contact sheet; further arguments go to `python -m demo.evaluation`.
import { once } from 'node:events'
import { join } from 'node:path'
import { startChild } from '../tools/children.mjs'
import { root, run, script } from '../tools/run.mjs'
import { readyAddress } from '../tools/gateway.mjs'
import { build, python, setup } from '../tools/setup.mjs'

await script(async () => {
  await setup('test')
  await build()
  const server = startChild(process.execPath, [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, LOG_FORMAT: 'json', LOG_LEVEL: 'info' }
  })
  process.stdout.write('• Loading and compiling the demo model …\n')
  try {
    const url = await readyAddress(server)
    await run(python, ['-m', 'demo.evaluation', '--url', url, ...process.argv.slice(2)], {
      cwd: join(root, 'python-worker')
    })
  } finally {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
})
