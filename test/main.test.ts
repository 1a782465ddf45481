import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { readVersion } from '../src/version.js'
import { alive, type GatewayProcess, readyAddress, startProcess } from './support/process.js'
import { until } from './support/wait.js'

const FAKE = { ENGINE: 'fake', WORKER_ARGS: '--sizes 64x64 --fake-step-ms 20', HEARTBEAT_INTERVAL: '0.1' }

function start(env: NodeJS.ProcessEnv = {}, args: string[] = []): GatewayProcess {
  return startProcess('dist/main.js', args, { ...FAKE, ...env })
}

function request(address: string, steps: number): Promise<Response> {
  const body = JSON.stringify({ prompt: 'x', num_inference_steps: steps })
  return fetch(`${address}/generate`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
}

interface Health {
  requests: { in_flight: number }
  workers: { list: { pid: number }[] }
}

async function health(address: string): Promise<Health> {
  return (await fetch(`${address}/health`)).json() as Promise<Health>
}

describe('the command', () => {
  it('prints its options with --help', async () => {
    const gateway = start({}, ['--help'])
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(gateway.output()).toMatch(/usage: easel/)
  })

  it('names a wrong setting in one line and exits with status 2', async () => {
    const gateway = start({ PORT: 'eighty' })
    expect(await gateway.exit).toEqual({ code: 2, signal: null })
    expect(gateway.output()).toBe('easel: PORT="eighty": must be a whole number from 0 to 65535\n')
  })

  it('prints its version with --version', async () => {
    const gateway = start({}, ['--version'])
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(gateway.output()).toBe(`easel ${readVersion()}\n`)
  })

  it.each(['PORT', 'ADMIN_PORT'])('says in one line that %s is in use and exits with status 1', async (name) => {
    const taken = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void taken.close())
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const gateway = start({ [name]: String(port), LOG_LEVEL: 'warn' })
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
    expect(gateway.output()).toBe(
      `easel: cannot start: ${name}=${port} on 127.0.0.1 is in use by another process; stop it or choose another ${name}\n`
    )
  })

  it.each([
    ['RESULTS', 'file:///proc/x'],
    ['RESULTS', 'file:///etc/passwd'],
    ['PICTURE_FOLDER', '/proc/x']
  ])('says in one line that nothing can be written to %s=%s, before a worker starts', async (name, value) => {
    const gateway = start({ [name]: value })
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
    expect(gateway.output()).toMatch(
      new RegExp(`^easel: cannot start: ${name}=${value}: no files can be written there: E.*Give a folder.*\n$`)
    )
  })

  it('names JOB_STORE_CA when that cannot be read', async () => {
    const gateway = start({ JOB_STORE: 'valkeys://127.0.0.1:1', JOB_STORE_CA: '/nowhere/ca.pem', LOG_LEVEL: 'fatal' })
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
    expect(gateway.output()).toMatch(/^easel: cannot start: JOB_STORE_CA: ENOENT.*PEM\n$/)
  })

  it('says that HOST is not an address of this machine', async () => {
    const gateway = start({ HOST: '192.0.2.1' })
    expect(await gateway.exit).toEqual({ code: 1, signal: null })
    expect(gateway.output()).toBe(
      'easel: cannot start: HOST=192.0.2.1 is not an address of this machine; localhost and 0.0.0.0 always work\n'
    )
  })

  it('says that the model folder does not exist', async () => {
    const gateway = start({ MODEL: '/no/such/folder' })
    expect((await gateway.exit).code).toBe(2)
    expect(gateway.output()).toMatch(/^easel: MODEL=\/no\/such\/folder: there is no such folder or file[^\n]*\n$/)
  })

  it('prints its address and a curl line when it is ready', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    expect(gateway.output()).toContain(`curl -o out.png`)
    expect(gateway.output()).toContain(`${address}/generate`)
  })
})

describe('SIGTERM', () => {
  it('finishes running requests, refuses new ones, and leaves no process or socket behind', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
    const running = request(address, 100)
    await until('the request runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    await until('the gateway drains', () => gateway.output().includes('finishing running requests'))
    const refused = await request(address, 1)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).not.toBeNull()
    expect((await running).status).toBe(200)
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(alive(pid)).toBe(false)
    expect(existsSync(gateway.socket)).toBe(false)
  })

  it('does not wait for a client that connected without sending anything', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const silent = connect(Number(new URL(address).port), '127.0.0.1').on('error', () => undefined)
    await once(silent, 'connect')
    gateway.child.kill('SIGTERM')
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    silent.destroy()
  })

  it('answers 503 to requests that do not finish in time', async () => {
    const gateway = start({ DRAIN_TIMEOUT: '0.3' })
    const address = await readyAddress(gateway)
    const running = request(address, 1000)
    await until('the request runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    const answer = await running
    expect(answer.status).toBe(503)
    expect(answer.headers.get('retry-after')).not.toBeNull()
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
  })

  it('twice in quick succession counts as one, because a process group and npm both deliver it', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const running = request(address, 100)
    await until('the request runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    await until('the gateway drains', () => gateway.output().includes('finishing running requests'))
    gateway.child.kill('SIGTERM')
    expect((await running).status).toBe(200)
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(gateway.output().match(/finishing running requests/g)).toHaveLength(1)
  })

  it('a second time later exits at once', async () => {
    const gateway = start({ DRAIN_TIMEOUT: '3600' })
    const address = await readyAddress(gateway)
    const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
    request(address, 1000).catch(() => undefined)
    await until('the request runs', async () => (await health(address)).requests.in_flight === 1)
    await until('the gateway has ended', () => {
      gateway.child.kill('SIGTERM')
      return gateway.child.exitCode !== null
    })
    expect(gateway.child.exitCode).not.toBe(0)
    expect(gateway.output()).toMatch(/second SIGTERM, exiting/)
    await until('the worker has ended', () => !alive(pid))
  })
})

it('a killed gateway leaves no orphan worker', async () => {
  const gateway = start()
  const address = await readyAddress(gateway)
  const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
  gateway.child.kill('SIGKILL')
  await gateway.exit
  await until('the worker has ended', () => !alive(pid))
})
