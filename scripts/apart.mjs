// @ts-check
// npm run apart: a gateway apart behind HAProxy with three workers (fake engine), which are killed, frozen and cut off again and
// again, and then a rollout of the gateway. As root each part has a network namespace of its own; otherwise cables are relays on
// loopback. Settings: ROUNDS, CLIENTS, NETWORK=namespaces|loopback. Linux only.
import { script, StepError } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'

const { ROUNDS = '3', CLIENTS = '12', NETWORK = process.getuid?.() === 0 ? 'namespaces' : 'loopback' } = process.env

await script(async () => {
  await setup('runtime')
  await build()
  // They import packages.
  const { loopback, namespaces } = await import('../test/apart/cables.mjs')
  const { judge } = await import('../test/apart/judge.mjs')
  const { runApart } = await import('../test/apart/run.mjs')
  const { machine, table } = await import('../tools/table.mjs')
  const network = NETWORK === 'namespaces' ? await namespaces() : loopback()
  const start = performance.now()
  const observed = await runApart(network, { rounds: Number(ROUNDS), clients: Number(CLIENTS) })
  const seconds = ((performance.now() - start) / 1000).toFixed(0)
  const ends = Object.entries(observed.ends).map(([name, count]) => `${count} ${name}`)
  console.log(
    `\nA gateway apart, ${network.kind}: ${ends.join(', ')}; ${observed.replays} replays; ${seconds} s; ${machine()}\n`
  )
  const findings = judge(observed)
  const rows = findings.map(({ check, found, ok }) => [check, found, ok ? '✓' : '✗'])
  console.log(table(['check', 'found', 'ok'], rows))
  if (findings.some(({ ok }) => !ok)) throw new StepError('at least one check failed')
})
