// @ts-check
// The lowest possible cost of a small image: each part of its path measured by itself on this machine.
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import sharp from 'sharp'
import { Router } from 'zeromq'
import { startChild } from '../../tools/children.mjs'
import { root } from '../../tools/run.mjs'
import { python } from '../../tools/setup.mjs'
import { post } from './http-load.mjs'
import { quantile } from '../../tools/table.mjs'

/** The approximate size of an image's message to a worker, in bytes. */
const JOB_BYTES = 1000

/**
 * @typedef {object} Repeats
 * @property {number} warmUp repetitions before the measurement
 * @property {number} count
 */

/**
 * @param {Buffer} png
 * @param {object} body the request's body
 * @param {Repeats} repeats
 * @returns {Promise<{ http: number, wire: number, file: number }>} ms, p50
 */
export async function bareParts(png, body, repeats) {
  const folder = await mkdtemp(join(tmpdir(), 'easel-bench-'))
  try {
    const path = join(folder, 'image.png')
    await writeFile(path, png)
    const { data, info } = await sharp(png).removeAlpha().raw().toBuffer({ resolveWithObject: true })
    return {
      http: await bareHttp(path, body, repeats),
      wire: await bareWire(`ipc://${folder}/socket`, data.length, repeats),
      file: await bareFile(data, info, repeats)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

/**
 * @param {string} path
 * @param {object} body
 * @param {Repeats} repeats
 */
async function bareHttp(path, body, repeats) {
  const server = startChild(process.execPath, [join(root, 'bench/bare/http.mjs'), path], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  try {
    const [address] = await once(server.stdout, 'data')
    return await middle(() => post(String(address).trim(), body), repeats)
  } finally {
    server.kill()
    await once(server, 'exit')
  }
}

/**
 * @param {string} endpoint
 * @param {number} bytes
 * @param {Repeats} repeats
 */
async function bareWire(endpoint, bytes, repeats) {
  const router = new Router()
  await router.bind(endpoint)
  const worker = startChild(python, [join(root, 'bench/bare/worker.py'), endpoint, String(bytes)], {
    stdio: ['ignore', 'inherit', 'inherit']
  })
  try {
    const [name] = await router.receive()
    const job = Buffer.alloc(JOB_BYTES)
    return await middle(async () => {
      await router.send([name ?? '', job])
      await router.receive()
    }, repeats)
  } finally {
    worker.kill()
    await once(worker, 'exit')
    router.close()
  }
}

/**
 * Our own encoder with the gateway's settings, in a process that does nothing else.
 *
 * @param {Buffer} pixels
 * @param {import('sharp').OutputInfo} info
 * @param {Repeats} repeats
 */
async function bareFile(pixels, { width, height }, repeats) {
  const built = (/** @type {string} */ path) => import(pathToFileURL(join(root, 'dist', path)).href)
  const { ImageEncoder } = /** @type {typeof import('../../src/image/encoder.js')} */ (await built('image/encoder.js'))
  const { loadOptions } = /** @type {typeof import('../../src/gateway-options.js')} */ (
    await built('gateway-options.js')
  )
  const encoder = new ImageEncoder({ pngCompression: loadOptions([]).pngCompression, concurrency: 1 })
  return middle(
    () => encoder.encode({ width, height, pixels }, { format: 'png', quality: 100, recipe: undefined }),
    repeats
  )
}

/**
 * @param {() => Promise<unknown>} work
 * @param {Repeats} repeats
 */
async function middle(work, { warmUp, count }) {
  /** @type {number[]} */
  const times = []
  for (let index = 0; index < warmUp + count; index++) {
    const start = performance.now()
    await work()
    times.push(performance.now() - start)
  }
  return quantile(times.slice(warmUp), 0.5)
}
