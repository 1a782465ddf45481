import sharp from 'sharp'
import { expect, it } from 'vitest'
import { coloursOf } from './support/colours.js'
import { readyAddress, startProcess } from './support/process.js'
import { until } from './support/wait.js'

/** Loading JAX and compiling take most of a minute on a slow machine. */
const START_MS = 300_000

const PROMPTS: [object: string, background: string, prompt: string][] = [
  ['red', 'blue', 'a red circle on a blue background'],
  ['blue', 'yellow', 'a blue square on a yellow background'],
  ['green', 'white', 'a green triangle on a white background'],
  ['white', 'black', 'a white circle on a black background'],
  ['yellow', 'purple', 'a yellow square on a purple background'],
  ['purple', 'green', 'a purple circle on a green background'],
  ['cyan', 'red', 'a cyan square on a red background'],
  ['black', 'cyan', 'a black triangle on a cyan background'],
  ['red', 'white', 'a red square on a white background'],
  ['blue', 'green', 'a blue circle on a green background']
]

interface Health {
  workers: { list: { pid: number; rows_in_use: number; steps_total: number }[] }
}

it(
  'npm start makes ten correct images of ten concurrent prompts although the worker dies in between',
  { timeout: 2 * START_MS },
  async () => {
    const gateway = startProcess('scripts/start.mjs', [], { HEARTBEAT_INTERVAL: '0.2', RESTART_BACKOFF: '0.1' })
    const address = await readyAddress(gateway, START_MS)
    const health = async () => (await fetch(`${address}/health`)).json() as Promise<Health>
    const requests = PROMPTS.map(async ([, , prompt], seed) =>
      fetch(`${address}/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt, seed })
      })
    )
    let first: number | undefined
    await until('the worker is denoising', async () => {
      const [worker] = (await health()).workers.list
      first = worker?.pid
      return (worker?.rows_in_use ?? 0) > 0 && worker!.steps_total > 5
    })
    process.kill(first!, 'SIGKILL')
    for (const [index, request] of requests.entries()) {
      const [object, background, prompt] = PROMPTS[index]!
      const response = await request
      expect(response.status, prompt).toBe(200)
      const { data, info } = await sharp(Buffer.from(await response.arrayBuffer()))
        .raw()
        .toBuffer({ resolveWithObject: true })
      expect([info.width, info.height], prompt).toEqual([128, 128])
      expect(coloursOf(data, info.width, info.height), prompt).toEqual({ object, background })
    }
    expect((await health()).workers.list[0]!.pid).not.toBe(first)
  }
)
