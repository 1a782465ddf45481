// @ts-check
// npm run chaos: 64 clients send 2,000 requests to a gateway with two workers (fake engine), while workers are killed, frozen
// and restarted and clients disconnect and retry. Settings: REQUESTS, CLIENTS, FAULTS, SEED. Linux only: it reads /proc.
// With --durable: 10,000 durable jobs at two gateways with one Valkey server, which all are killed, frozen and restarted, while
// those that are told of the ends fail, hang and drop connections; with --results too, their images are files in a folder.
import { script, StepError } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'

const durable = process.argv.includes('--durable')
const {
  REQUESTS = durable ? '10000' : '2000',
  CLIENTS = '64',
  FAULTS = durable ? '48' : '16',
  SEED = '1'
} = process.env

await script(async () => {
  await setup('runtime')
  await build()
  // They import packages.
  if (durable) {
    const { runDurable } = await import('../test/chaos/durable.mjs')
    const { printDurable } = await import('../test/chaos/durable-verdict.mjs')
    const observed = await runDurable({
      seed: Number(SEED),
      jobs: Number(REQUESTS),
      clients: Number(CLIENTS),
      stepMs: 12,
      faults: Number(FAULTS),
      // Longer than an attempt.
      hangMs: 20_000,
      results: process.argv.includes('--results')
    })
    if (!printDurable(`Durable jobs (seed ${SEED})`, observed)) throw new StepError('at least one check failed')
    return
  }
  const { run } = await import('../test/chaos/run.mjs')
  const { judge, print } = await import('../test/chaos/verdict.mjs')
  const observed = await run({
    seed: Number(SEED),
    clients: Number(CLIENTS),
    requests: Number(REQUESTS),
    stepMs: 12,
    faults: Number(FAULTS),
    faultEveryMs: 2000
  })
  const findings = judge(observed, { gateway: 4, workers: 1 })
  print(`Chaos (seed ${SEED})`, observed, findings)
  if (findings.some(({ ok }) => !ok)) throw new StepError('at least one check failed')
})
