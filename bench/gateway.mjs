// @ts-check
// npm run bench:gateway: the gateway's own throughput. The worker is the fake engine, which makes a 1024×1024 picture in
// a millisecond or two, so this measures tokenizing, ZeroMQ, PNG and HTTP. Clients are closed loops.
import { script } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'
import { startGateway } from './lib/gateway.mjs'
import { load } from './lib/http-load.mjs'
import { machine, quantile, table } from '../tools/table.mjs'

const CLIENTS = [1, 4, 16]
const SECONDS = Number(process.env['SECONDS_EACH'] ?? 8)
const FAKE = '--sizes 1024x1024 --rows 64 --fake-step-ms 0 --fake-encode-ms 0 --fake-decode-ms 0'
const body = { prompt: 'a lighthouse on a cliff at dusk, oil painting', num_inference_steps: 1, guidance_scale: 5 }

await script(async () => {
  await setup('runtime')
  await build()
  const { url, stop } = await startGateway(FAKE)
  try {
    await load(url, { clients: 2, seconds: 2, body })
    const seen = []
    for (const clients of CLIENTS) seen.push(await load(url, { clients, seconds: SECONDS, body }))
    console.log(
      `\nGateway with the fake engine, 1024×1024, ${SECONDS} s each, clients and worker on the same machine\n${machine()}\n`
    )
    console.log(
      table(['clients', 'images/s', 'p50 ms', 'p99 ms', '/health p50 ms', '/health p99 ms', 'PNG KiB'], seen.map(row))
    )
  } finally {
    await stop()
  }
})

/** @param {import('./lib/http-load.mjs').Seen} seen */
function row({ clients, rate, latencies, health, bytes }) {
  const ms = [latencies, health]
    .flatMap((values) => [quantile(values, 0.5), quantile(values, 0.99)])
    .map((value) => value.toFixed(1))
  return [clients, rate.toFixed(1), ...ms, (bytes / 1024).toFixed(0)]
}
