import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { drawn } from './pictures.js'
import { openServer, type RunningServer } from './server.js'

/**
 * Starts a server with the ControlNet canny, the T2I-Adapter depth and the IP-Adapter plus, and waits until it is ready.
 *
 * @returns it, and what stops it and removes its files
 */
export async function openControlServer(): Promise<{ server: RunningServer; stop: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-controls-'))
  await mkdir(join(folder, 'nets'))
  await mkdir(join(folder, 'adapters'))
  await writeFile(join(folder, 'nets/canny.safetensors'), 'edges')
  await writeFile(join(folder, 'nets/depth.safetensors'), 't2i-adapter')
  await writeFile(join(folder, 'adapters/plus.safetensors'), '16')
  const args = `--controlnets ${folder}/nets --ip-adapters ${folder}/adapters`
  const { server, stop } = await openServer({ WORKER_ARGS: args })
  await server.pool.firstReady
  return {
    server,
    stop: async () => {
      await stop()
      await rm(folder, { recursive: true })
    }
  }
}

/** A PNG file for an IP-Adapter to look at. */
export function painted(): Promise<Buffer> {
  return drawn({ width: 90, height: 90 }, 3, (x, y, channel) => (x * y * (channel + 1)) & 255)
    .png()
    .toBuffer()
}
