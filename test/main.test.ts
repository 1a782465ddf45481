import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
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
  it('explains itself with --help', async () => {
    const gateway = start({}, ['--help'])
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(gateway.output()).toMatch(/usage: easel/)
  })

  it('names a setting that is wrong, in one line, with status 2', async () => {
    const gateway = start({ PORT: 'eighty' })
    expect(await gateway.exit).toEqual({ code: 2, signal: null })
    expect(gateway.output()).toBe('easel: PORT="eighty": must be a whole number from 0 to 65535\n')
  })

  it('says what is missing when the model folder is wrong', async () => {
    const gateway = start({ MODEL: '/no/such/folder' })
    expect((await gateway.exit).code).toBe(1)
    expect(gateway.output()).toMatch(/\/no\/such\/folder/)
    expect(gateway.output()).not.toMatch(/\n {4}at /)
  })

  it('prints its address and a curl line when it is ready', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    expect(gateway.output()).toContain(`curl -o out.png`)
    expect(gateway.output()).toContain(`${address}/generate`)
  })
})

describe('SIGTERM', () => {
  it('lets what runs finish, takes nothing more, and leaves nothing behind', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
    const running = request(address, 100)
    await until('it runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    await until('it drains', () => gateway.output().includes('finishing what runs'))
    const refused = await request(address, 1)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('retry-after')).not.toBeNull()
    expect((await running).status).toBe(200)
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    expect(alive(pid)).toBe(false)
    expect(existsSync(gateway.socket)).toBe(false)
  })

  it('does not wait for a client that has connected and says nothing', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const silent = connect(Number(new URL(address).port), '127.0.0.1').on('error', () => undefined)
    await once(silent, 'connect')
    gateway.child.kill('SIGTERM')
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
    silent.destroy()
  })

  it('answers 503 to what does not finish in time', async () => {
    const gateway = start({ DRAIN_TIMEOUT: '0.3' })
    const address = await readyAddress(gateway)
    const running = request(address, 1000)
    await until('it runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    const answer = await running
    expect(answer.status).toBe(503)
    expect(answer.headers.get('retry-after')).not.toBeNull()
    expect(await gateway.exit).toEqual({ code: 0, signal: null })
  })

  it('a second time ends it at once', async () => {
    const gateway = start()
    const address = await readyAddress(gateway)
    const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
    request(address, 1000).catch(() => undefined)
    await until('it runs', async () => (await health(address)).requests.in_flight === 1)
    gateway.child.kill('SIGTERM')
    await until('it drains', () => gateway.output().includes('finishing what runs'))
    gateway.child.kill('SIGTERM')
    expect((await gateway.exit).code).not.toBe(0)
    await until('the worker is gone too', () => !alive(pid))
  })
})

it('a gateway that is killed leaves no orphan', async () => {
  const gateway = start()
  const address = await readyAddress(gateway)
  const [{ pid }] = (await health(address)).workers.list as [{ pid: number }]
  gateway.child.kill('SIGKILL')
  await gateway.exit
  await until('the worker is gone too', () => !alive(pid))
})
