import { chmod, cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { loadOptions, packageRoot } from '../src/gateway-options.js'
import { type GatewayProcess, readyAddress, startProcess } from './support/process.js'
import { until } from './support/wait.js'

const FAKE = { ENGINE: 'fake', WORKER_ARGS: '--sizes 64x64', HEARTBEAT_INTERVAL: '0.1', RESTART_BACKOFF: '0.05' }

function start(env: NodeJS.ProcessEnv): GatewayProcess {
  return startProcess('dist/main.js', [], { ...FAKE, ...env })
}

async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'first-start-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Sets every bit of a tensor in a safetensors file to 1, which is NaN in every float format. */
async function damage(path: string, tensor: string): Promise<void> {
  const bytes = await readFile(path)
  const start = 8 + Number(bytes.readBigUInt64LE(0))
  const header = JSON.parse(bytes.toString('utf8', 8, start)) as Record<string, { data_offsets: [number, number] }>
  const [from, to] = header[tensor]!.data_offsets
  bytes.fill(0xff, start + from, start + to)
  await writeFile(path, bytes)
}

/** The gateway's final message on standard error; everything before it is log. */
function lastLine(gateway: GatewayProcess): string | undefined {
  return gateway
    .output()
    .split('\n')
    .find((line) => line.startsWith('easel: '))
}

describe('a worker that cannot start for a permanent reason ends the gateway', () => {
  it('with a line that names the wrong model folder, and the exit status of the worker', async () => {
    const model = await temporaryFolder()
    await cp(join(packageRoot, 'models/demo'), model, { recursive: true, filter: (path) => !path.includes('/unet') })
    const gateway = start({ ENGINE: 'sdxl', WORKER_ARGS: '', MODEL: model })
    expect(await gateway.exit).toEqual({ code: 7, signal: null })
    expect(lastLine(gateway)).toBe(
      `easel: cannot start: worker worker-0 exited with status 7: the engine did not start: ${model}/unet/config.json is missing: the model must be a diffusers folder of SDXL`
    )
    expect(gateway.output()).not.toContain('restarting it in')
  })

  it('with the wrong key of easel.json', async () => {
    const model = await temporaryFolder()
    await cp(join(packageRoot, 'models/demo'), model, { recursive: true })
    await writeFile(join(model, 'easel.json'), '{"defaults": {"num_inference_steps": "25"}}')
    const gateway = start({ ENGINE: 'sdxl', WORKER_ARGS: '', MODEL: model })
    expect((await gateway.exit).code).toBe(7)
    expect(lastLine(gateway)).toContain(
      `${model}/easel.json: defaults.num_inference_steps = "25": must be a whole number, 1 or more`
    )
  })

  it('with the part of the model that computes NaN or infinity', async () => {
    const model = await temporaryFolder()
    await cp(join(packageRoot, 'models/demo'), model, { recursive: true })
    await damage(join(model, 'unet/diffusion_pytorch_model.safetensors'), 'conv_out.bias')
    const gateway = start({
      ENGINE: 'sdxl',
      WORKER_ARGS: '',
      MODEL: model,
      COMPILE_CACHE: join(packageRoot, '.cache/compile')
    })
    expect((await gateway.exit).code).toBe(7)
    expect(lastLine(gateway)).toMatch(
      /the model's unet computes numbers that are not finite \(NaN or infinite\) in float32 at 128x128: its weights are damaged/
    )
  }, 300_000)

  it('with the wrong setting of the worker, as soon as the first of several fails', async () => {
    const gateway = start({ WORKER_ARGS: '--rows none', WORKERS: '2' })
    expect((await gateway.exit).code).toBe(2)
    expect(lastLine(gateway)).toMatch(/cannot start: worker worker-\d exited with status 2: .*--rows/)
  })

  it('with the missing program', async () => {
    const gateway = start({ PYTHON: '/no/such/python' })
    expect((await gateway.exit).code).toBe(1)
    expect(lastLine(gateway)).toMatch(/worker worker-0 could not be started: .*\/no\/such\/python/)
  })
})

describe('a worker that cannot start is restarted', () => {
  it('if the reason may be temporary', async () => {
    const gateway = start({ WORKER_ARGS: '--fake-faults raise:warm' })
    await until(
      'the worker was restarted',
      () => gateway.output().split('exited with status 1; restarting it in').length > 2
    )
    expect(gateway.child.exitCode).toBeNull()
  })

  it('if a worker was ready before, so that changing the model folder does not end a running service', async () => {
    const script = join(await temporaryFolder(), 'python')
    const { python } = loadOptions([], {})
    await writeFile(
      script,
      `#!/bin/sh\nif [ -e "$0.once" ]; then echo changed >&2; exit 7; fi\ntouch "$0.once"\nexec "${python}" "$@"\n`
    )
    await chmod(script, 0o755)
    const gateway = start({ PYTHON: script })
    const health = (await (await fetch(`${await readyAddress(gateway)}/health`)).json()) as {
      workers: { list: { pid: number }[] }
    }
    process.kill(health.workers.list[0]!.pid, 'SIGKILL')
    await until(
      'the worker was restarted',
      () => gateway.output().split('exited with status 7; restarting it in').length > 2
    )
    expect(gateway.child.exitCode).toBeNull()
  })
})
