// @ts-check
// npm run soak: steady traffic with occasional faults, to check that memory use does not grow. Settings: MINUTES, CLIENTS,
// SEED, SCHEDULES. Linux only: it reads /proc.
import { join } from 'node:path'
import { root, run, script, StepError } from '../tools/run.mjs'
import { build, python, setup } from '../tools/setup.mjs'

const { MINUTES = '10', CLIENTS = '16', SEED = '1', SCHEDULES = '300' } = process.env
const FAULT_EVERY_MS = 90_000

await script(async () => {
  await setup('test')
  await build()
  // It imports packages.
  const { run: runTraffic } = await import('../test/chaos/run.mjs')
  const { judge, print } = await import('../test/chaos/verdict.mjs')
  const seconds = Number(MINUTES) * 60
  const observed = await runTraffic({
    seed: Number(SEED),
    clients: Number(CLIENTS),
    seconds,
    stepMs: 12,
    faults: Infinity,
    faultEveryMs: FAULT_EVERY_MS
  })
  const findings = judge(observed, { gateway: 0.5, workers: 0.1 })
  print(`Soak (seed ${SEED})`, observed, findings)
  // Then, on the real model, compare the bytes of images that share steps with those of images made alone.
  await run(python, ['-m', 'tests.soak_company', '--schedules', SCHEDULES], { cwd: join(root, 'python-worker') })
  if (findings.some(({ ok }) => !ok)) throw new StepError('at least one check failed')
})
