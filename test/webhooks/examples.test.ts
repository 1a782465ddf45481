import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, it, onTestFinished } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { freePort } from '../../tools/ports.mjs'
import { pythonTools } from '../../tools/tool-cache.mjs'
import { secretOf } from '../support/receiver.js'
import { startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

const INSTALL_MS = 300_000
const page = readFileSync(join(packageRoot, 'docs/webhooks.md'), 'utf8')

const example = (language: string) => new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'ms').exec(page)![1]!

const python = () => pythonTools('webhooks', 'test/webhooks/requirements.lock', 'Installing standardwebhooks')

it.each([
  ['js', async () => [process.execPath, '--input-type=module', '-e']],
  ['python', async () => [await python(), '-c']]
] as const)(
  'the receiver of docs/webhooks.md in %s takes what the gateway sends, and nothing else',
  async (language, command) => {
    const port = await freePort()
    const [program, ...args] = await command()
    const child = spawn(program!, [...args, example(language)], {
      cwd: packageRoot,
      env: { PORT: String(port), WEBHOOK_SECRET: secretOf(2) },
      stdio: ['ignore', 'pipe', 'inherit']
    })
    onTestFinished(() => void child.kill())
    const lines: string[] = []
    createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
    const url = `http://127.0.0.1:${port}/`
    const forged = () => fetch(url, { method: 'POST', body: '{"type":"job.succeeded","data":{"id":"forged"}}' })
    await until('it listens', () =>
      forged().then(
        () => true,
        () => false
      )
    )
    expect((await forged()).status).toBe(400)

    const server = await startReadyServer({
      WEBHOOK_HOSTS: `http://127.0.0.1:${port}`,
      WEBHOOK_NETWORKS: '127.0.0.0/8',
      WEBHOOK_SECRETS: `${secretOf(1)} ${secretOf(2)}`
    })
    await fetch(`${server.url}/jobs/mine`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ prompt: 'ü', webhook: url })
    })
    await until('it is told', () => lines.length > 0)
    expect(lines).toEqual(['job.succeeded mine'])
  },
  INSTALL_MS
)
