import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, it, onTestFinished } from 'vitest'
import { schemathesis } from '../../tools/http-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { startReadyServer } from '../support/server.js'

const INSTALL_MS = 300_000
/** Answers that take longer count as hung, in seconds. */
const HANG_S = 20

let python: string
beforeAll(async () => {
  python = await schemathesis()
}, INSTALL_MS)

it('answers any request as /openapi.json describes, without hanging', async () => {
  const server = await startReadyServer({ REQUEST_TIMEOUT: '5', WORKER_ARGS: '--fake-step-ms 0' })
  // schemathesis writes its findings to its working directory.
  const folder = await mkdtemp(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const args = ['--config-file', join(packageRoot, 'test/http/schemathesis.toml'), 'run', `${server.url}/openapi.json`]
  const how = [
    '--phases',
    'examples,coverage,fuzzing',
    '--max-examples',
    '25',
    '--seed',
    '1',
    '--request-timeout',
    String(HANG_S),
    '--continue-on-failure',
    '--no-color'
  ]
  const { code, output } = await run(python, ['-m', 'schemathesis.cli', ...args, ...how], folder)
  expect(code, output).toBe(0)
  expect(output).toMatch(/[1-9]\d\d+ generated/)
  expect(server.logs.filter((line) => line['code'] === 'INTERNAL')).toEqual([])
  expect(server.service.ledger.inFlight).toBe(0)
}, 600_000)

async function run(command: string, args: string[], cwd: string): Promise<{ code: number; output: string }> {
  try {
    const { stdout, stderr } = await promisify(execFile)(command, args, { cwd, maxBuffer: 2 ** 26 })
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, output: `${stdout}${stderr}` }
  }
}
