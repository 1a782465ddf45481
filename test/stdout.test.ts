import { mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type GatewayProcess, readyAddress, startProcess } from './support/process.js'
import { BROKEN, fullPipe, listeningPort } from './support/stdout.js'
import { until } from './support/wait.js'

/** Makes the process crash on a signal, as a bug would. */
const CRASH_ON_SIGNAL = `--import=data:text/javascript,${encodeURIComponent("process.on('SIGUSR2', () => { throw new Error('crash') })")}`

function start(script: string, stdout: number, env: NodeJS.ProcessEnv = {}): GatewayProcess {
  const fake = {
    ENGINE: 'fake',
    WORKER_ARGS: '--sizes 64x64 --fake-step-ms 1',
    HEARTBEAT_INTERVAL: '0.1',
    LOG_LEVEL: 'debug'
  }
  return startProcess(script, [], { ...fake, NODE_OPTIONS: CRASH_ON_SIGNAL, ...env }, { stdout })
}

async function addressOf({ child, output }: GatewayProcess): Promise<string> {
  let port: number | undefined
  await until('the process listens', () => {
    if (child.exitCode !== null) throw new Error(`it ended: ${output()}`)
    port = listeningPort(child.pid!)
    return port !== undefined
  })
  return `http://127.0.0.1:${port}`
}

async function post(url: string): Promise<number> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"prompt":"x","num_inference_steps":2}'
  })
  await response.arrayBuffer()
  return response.status
}

async function dropped(address: string): Promise<number> {
  const text = await (await fetch(`${address}/metrics`)).text()
  return Number(/^easel_log_lines_dropped_total (\d+)$/m.exec(text)![1])
}

const states = Object.entries(BROKEN)
const formats = ['json', 'pretty'].flatMap((format) => states.map(([state, open]) => ({ format, state, open })))

describe('with an unwritable log', () => {
  it.each(formats)('the gateway serves and shuts down cleanly: $state, $format', async ({ format, open }) => {
    const gateway = start('dist/main.js', open(), { LOG_FORMAT: format })
    const address = await addressOf(gateway)
    await until('the worker is ready', async () => (await fetch(`${address}/health`)).status === 200)
    for (let round = 0; round < 5; round++) expect(await post(`${address}/generate`)).toBe(200)
    gateway.child.kill('SIGTERM')
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(gateway.output()).toBe('')
  })

  it.each(states)("the page's process serves and shuts down cleanly: %s", async (_, open) => {
    const web = start('dist/webapp/main.js', open())
    const address = await addressOf(web)
    for (let round = 0; round < 5; round++) expect((await fetch(`${address}/`)).status).toBe(200)
    web.child.kill('SIGTERM')
    expect(await web.exit).toEqual({ code: 0, signal: null })
  })

  it.each(states)('a second signal ends the gateway at once: %s', async (_, open) => {
    const gateway = start('dist/main.js', open(), { WORKER_ARGS: '--sizes 64x64 --fake-step-ms 5000' })
    const address = await addressOf(gateway)
    await until('the worker is ready', async () => (await fetch(`${address}/health`)).status === 200)
    post(`${address}/generate`).catch(() => undefined)
    await until(
      'the request runs',
      async () =>
        ((await (await fetch(`${address}/health`)).json()) as { requests: { in_flight: number } }).requests
          .in_flight === 1
    )
    gateway.child.kill('SIGTERM')
    await until('the gateway drains', async () => (await fetch(`${address}/health`)).status === 503)
    // Signals within a second of the first count as one.
    await until('the gateway has ended', () => !gateway.child.kill('SIGTERM'))
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
  })

  it.each(
    ['dist/main.js', 'dist/webapp/main.js'].flatMap((script) =>
      states.map(([state, open]) => ({ script, state, open }))
    )
  )('an uncaught error ends the process: $script, $state', async ({ script, open }) => {
    const gateway = start(script, open())
    await addressOf(gateway)
    gateway.child.kill('SIGUSR2')
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
  })
})

it('drops and counts lines on a full disk and keeps serving', async () => {
  const gateway = start('dist/main.js', BROKEN['a full disk']())
  const address = await addressOf(gateway)
  await until('the worker is ready', async () => (await fetch(`${address}/health`)).status === 200)
  const before = await dropped(address)
  expect(before).toBeGreaterThan(0)
  expect(await post(`${address}/generate`)).toBe(200)
  await until('more lines are dropped', async () => (await dropped(address)) > before)
})

it('reports in one line how many lines were lost once the log is read again', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  // A worker's output is logged. 4000 lines of 1 KB exceed the queue.
  const chatty = join(folder, 'worker')
  writeFileSync(chatty, `#!/bin/sh\nyes "worker $(printf %01000d 0)" | head -n 4000\nexec cat\n`, { mode: 0o755 })
  const { writer, reader } = fullPipe()
  const gateway = start('dist/main.js', writer, { PYTHON: chatty })
  const address = await addressOf(gateway)
  await until('2,000 lines are dropped', async () => (await dropped(address)) > 2000)
  const before = await dropped(address)
  let text = ''
  const lines = () =>
    text
      .slice(text.indexOf('{'))
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as { lost_lines?: number; msg: string })
  await until('the loss is logged', () => {
    text += readAll(reader)
    return text.includes('"lost_lines"')
  })
  const told = lines().filter(({ lost_lines }) => lost_lines !== undefined)
  expect(told).toHaveLength(1)
  expect(told[0]!.lost_lines).toBeGreaterThanOrEqual(before)
  expect(told[0]!.lost_lines).toBe(await dropped(address))
  expect(told[0]!.msg).toBe(`${told[0]!.lost_lines} log lines were lost: they could not be written`)
  const printed = () => lines().filter(({ msg }) => msg.startsWith('worker 000')).length
  await until('the buffered lines have arrived', () => {
    text += readAll(reader)
    return printed() > 500
  })
  expect(printed()).toBeLessThan(4000)
})

/** Reads what is in a pipe now. */
function readAll(pipe: number): string {
  const buffer = Buffer.alloc(65_536)
  try {
    return buffer.toString('utf8', 0, readSync(pipe, buffer))
  } catch {
    return ''
  }
}

it.each(['json', 'pretty'])('writes every line to a file, including the last: %s', async (format) => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'log')
  const gateway = start('dist/main.js', openSync(file, 'w'), { LOG_FORMAT: format })
  const address = await addressOf(gateway)
  await until('the worker is ready', async () => (await fetch(`${address}/health`)).status === 200)
  for (let round = 0; round < 20; round++) await post(`${address}/generate`)
  expect(await dropped(address)).toBe(0)
  gateway.child.kill('SIGTERM')
  expect((await gateway.exit).code).toBe(0)
  const lines = readFileSync(file, 'utf8').trimEnd().split('\n')
  expect(lines.filter((line) => line.includes('POST /generate 200'))).toHaveLength(20)
  expect(lines.at(-1)).toContain('stopped')
  if (format === 'json') for (const line of lines) expect(JSON.parse(line)).toHaveProperty('level')
})

it('writes every line to a pipe that is read', async () => {
  const gateway = startProcess('dist/main.js', [], { ENGINE: 'fake', WORKER_ARGS: '--sizes 64x64 --fake-step-ms 1' })
  await readyAddress(gateway)
  gateway.child.kill('SIGTERM')
  expect((await gateway.exit).code).toBe(0)
  await until('the last line has arrived', () => gateway.output().trimEnd().endsWith('"msg":"stopped"}'))
})
