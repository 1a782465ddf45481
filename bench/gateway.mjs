// @ts-check
// npm run bench:gateway: what the gateway itself can carry. The worker is the fake engine, which makes a 1024×1024
// picture in a few ms, so that tokens, ZeroMQ, PNG and HTTP are what is measured. Clients are closed loops.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { root, script, StepError } from '../scripts/lib/run.mjs'
import { readyAddress } from '../scripts/lib/gateway.mjs'
import { build, setup } from '../scripts/lib/setup.mjs'
import { machine, quantile, table } from './lib/table.mjs'

const CLIENTS = [1, 4, 16]
const SECONDS = Number(process.env['SECONDS_EACH'] ?? 8)
const FAKE = '--sizes 1024x1024 --rows 64 --fake-step-ms 0 --fake-encode-ms 0 --fake-decode-ms 0'
const HEALTH_EVERY_MS = 20
const body = JSON.stringify({ prompt: 'a lighthouse on a cliff at dusk, oil painting', num_inference_steps: 1, guidance_scale: 5 })

await script(async () => {
  await setup('runtime')
  await build()
  const server = spawn(process.execPath, [join(root, 'dist/main.js'), '--host', '127.0.0.1', '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ENGINE: 'fake', LOG_FORMAT: 'json', LOG_LEVEL: 'info', WORKER_ARGS: FAKE }
  })
  try {
    const url = await readyAddress(server)
    await load(url, 2, 2)
    const rows = []
    for (const clients of CLIENTS) rows.push(await load(url, clients, SECONDS))
    print(rows)
  } finally {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
})

/**
 * @param {string} url
 * @param {number} clients
 * @param {number} seconds
 */
async function load(url, clients, seconds) {
  const end = performance.now() + seconds * 1000
  /** @type {number[]} */
  const latencies = []
  let bytes = 0
  const client = async () => {
    while (performance.now() < end) {
      const start = performance.now()
      const response = await fetch(`${url}/generate`, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
      const image = await response.arrayBuffer()
      if (response.status !== 200) throw new StepError(`status ${response.status}: ${Buffer.from(image)}`)
      bytes += image.byteLength
      latencies.push(performance.now() - start)
    }
  }
  const start = performance.now()
  const health = probe(url, end)
  await Promise.all(Array.from({ length: clients }, client))
  const elapsed = (performance.now() - start) / 1000
  return { clients, rate: latencies.length / elapsed, latencies, health: await health, png: bytes / latencies.length }
}

/**
 * @param {string} url
 * @param {number} end
 */
async function probe(url, end) {
  /** @type {number[]} */
  const latencies = []
  while (performance.now() < end) {
    const start = performance.now()
    await (await fetch(`${url}/health`)).arrayBuffer()
    latencies.push(performance.now() - start)
    await new Promise((resolve) => setTimeout(resolve, HEALTH_EVERY_MS))
  }
  return latencies
}

/** @param {Awaited<ReturnType<typeof load>>[]} measured */
function print(measured) {
  console.log(`\nGateway with the fake engine, 1024×1024, ${SECONDS} s each, clients and worker on the same machine`)
  console.log(`${machine()}\n`)
  const ms = (/** @type {number[]} */ latencies) => [0.5, 0.99].map((q) => quantile(latencies, q).toFixed(1))
  const rows = measured.map(({ clients, rate, latencies, health, png }) => [clients, rate.toFixed(1), ...ms(latencies), ...ms(health), (png / 1024).toFixed(0)])
  console.log(table(['clients', 'images/s', 'p50 ms', 'p99 ms', '/health p50 ms', '/health p99 ms', 'PNG KiB'], rows))
}
