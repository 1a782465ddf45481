// @ts-check
// npm run bench:http: compares Easel with the tutorial's final server (bench/peers/fastapi), each alone on this machine,
// with the same pictures at the same cost. Then measures what the gateway adds to a small image, and what idle event
// streams cost.
import { readFile } from 'node:fs/promises'
import { script } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'
import { startGateway } from './lib/gateway.mjs'
import { load } from './lib/http-load.mjs'
import { startPeer } from './lib/peer.mjs'
import { machine, quantile, table } from '../tools/table.mjs'

const CLIENTS = [1, 4, 16, 64]
const SECONDS = Number(process.env['SECONDS_EACH'] ?? 8)
const FAKE = '--rows 64 --fake-step-ms 0 --fake-encode-ms 0 --fake-decode-ms 0'
const prompt = 'a lighthouse on a cliff at dusk, oil painting'
const large = { prompt, num_inference_steps: 1, guidance_scale: 5, width: 1024, height: 1024 }
const small = { ...large, width: 128, height: 128 }
const STREAMS = 64
/** The kernel's CPU ticks are too coarse for a shorter measurement. */
const IDLE_SECONDS = 30
/** Kernel ticks per second in /proc/PID/stat. */
const TICKS = 100

await script(async () => {
  await setup('runtime')
  await build()
  // It imports packages.
  const { smallImage } = await import('./lib/small-image.mjs')
  const easel = () => startGateway(`--sizes 1024x1024 ${FAKE}`, { QUEUE_LIMIT: '1000' })
  const rows = [...(await compare('Easel', easel)), ...(await compare('FastAPI + Pillow', startPeer))]
  console.log(`\n1024×1024, ${SECONDS} s each, clients on the same machine\n${machine()}\n`)
  console.log(
    table(['server', 'clients', 'images/s', 'p50 ms', 'p99 ms', '/health p99 ms', 'PNG ms p50', 'PNG KiB'], rows)
  )
  console.log(
    `\n${await smallImage(small, { Easel: () => startGateway(`--sizes 128x128 ${FAKE}`), 'FastAPI + Pillow': startPeer })}`
  )
  console.log(`\n${await idleStreams()}`)
})

/**
 * @param {string} name
 * @param {() => Promise<{ url: string, stop: () => Promise<void> }>} start
 */
async function compare(name, start) {
  const { url, stop } = await start()
  try {
    await load(url, { clients: 2, seconds: 2, body: large })
    const rows = []
    for (const clients of CLIENTS) {
      const { rate, latencies, files, health, bytes } = await load(url, { clients, seconds: SECONDS, body: large })
      const ms = [
        quantile(latencies, 0.5),
        quantile(latencies, 0.99),
        quantile(health, 0.99),
        quantile(files, 0.5)
      ].map((value) => value.toFixed(1))
      rows.push([name, clients, rate.toFixed(1), ...ms, (bytes / 1024).toFixed(0)])
    }
    return rows
  } finally {
    await stop()
  }
}

/** Measures the CPU cost of open event streams without events. */
async function idleStreams() {
  const { url, pid, stop } = await startGateway(`--sizes 128x128 --rows 64 --fake-step-ms ${IDLE_SECONDS * 4000}`)
  const controller = new AbortController()
  try {
    const headers = { 'content-type': 'application/json', accept: 'text/event-stream' }
    const open = () =>
      fetch(`${url}/generate`, { method: 'POST', headers, body: JSON.stringify(small), signal: controller.signal })
    await Promise.all(Array.from({ length: STREAMS }, open))
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const before = await cpuSeconds(pid)
    await new Promise((resolve) => setTimeout(resolve, IDLE_SECONDS * 1000))
    const share = ((await cpuSeconds(pid)) - before) / IDLE_SECONDS
    return `${STREAMS} idle event streams: ${(share * 100).toFixed(1)} % of a core, over ${IDLE_SECONDS} s`
  } finally {
    controller.abort()
    await stop()
  }
}

/** @param {number} pid */
async function cpuSeconds(pid) {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}
