import { readdirSync, readlinkSync } from 'node:fs'
import { describe, it, onTestFinished } from 'vitest'
import { alive, type GatewayProcess, readyAddress, startProcess } from '../support/process.js'
import { until } from '../support/wait.js'

/** ms within which a worker must exit after its gateway. */
const BOUND = 3000

interface Started {
  gateway: GatewayProcess
  worker: number
}

/** Starts a gateway and waits until its worker is ready. */
async function start(): Promise<Started> {
  const gateway = startProcess('dist/main.js', [], {
    ENGINE: 'fake',
    WORKER_ARGS: '--sizes 64x64',
    HEARTBEAT_INTERVAL: '0.1',
    LOG_LEVEL: 'debug'
  })
  const address = await readyAddress(gateway)
  const { workers } = (await (await fetch(`${address}/health`)).json()) as { workers: { list: { pid: number }[] } }
  const worker = workers.list[0]!.pid
  onTestFinished(() => {
    if (alive(worker)) process.kill(worker, 'SIGKILL')
  })
  return { gateway, worker }
}

async function kill({ gateway }: Started): Promise<void> {
  gateway.child.kill('SIGKILL')
  await gateway.exit
}

/** Inodes of a process's open sockets. */
function sockets(pid: number): Set<string> {
  const folder = `/proc/${pid}/fd`
  const links = readdirSync(folder).map((name) => {
    try {
      return readlinkSync(`${folder}/${name}`)
    } catch {
      return '' // closed in between
    }
  })
  return new Set(links.filter((link) => link.startsWith('socket:')))
}

describe('a gateway killed with -9 leaves no worker behind', () => {
  it('that is serving', async () => {
    const started = await start()
    await kill(started)
    await until('the worker has ended', () => !alive(started.worker), BOUND)
  })

  it('that dropped its session because the gateway had stalled', async () => {
    const started = await start()
    const before = sockets(started.worker)
    started.gateway.child.kill('SIGSTOP')
    // After 10 s of silence a worker closes its socket and opens another, which is visible from outside.
    await until('the worker has reconnected', () => {
      const now = sockets(started.worker)
      return [...before].some((socket) => !now.has(socket))
    })
    await kill(started)
    await until('the worker has ended', () => !alive(started.worker), BOUND)
  })

  it('that is blocked, as in a compiler that holds the GIL', async () => {
    const started = await start()
    process.kill(started.worker, 'SIGSTOP')
    await kill(started)
    await until('the worker has ended', () => !alive(started.worker), BOUND)
  })
})
