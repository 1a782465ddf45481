// @ts-check
// npm run abuse: attacks gateways with the fake engine (files, unread answers, slow uploads, idle connections, kill -9, full
// disks and more) and prints one table of limits and findings. Arguments name the attacks to run. Linux only: it reads
// /proc. Memory limits are checked only as root, which can create cgroups.
import { script, StepError } from '../tools/run.mjs'
import { build, setup } from '../tools/setup.mjs'

await script(async () => {
  const wanted = process.argv.slice(2)
  await setup('runtime')
  await build()
  // It imports packages.
  const { ATTACKS, holds, overall, print, run } = await import('../test/abuse/run.mjs')
  for (const name of wanted)
    if (!(name in ATTACKS))
      throw new StepError(`Unknown attack ${name}. Choose from ${Object.keys(ATTACKS).join(', ')}`)
  const outcomes = await run(wanted.length === 0 ? Object.keys(ATTACKS) : wanted, (text) => console.log(`• ${text}`))
  const rows = [...outcomes.flatMap((outcome) => outcome.rows), ...overall(outcomes)]
  print(rows)
  const broken = rows.filter((row) => !holds(row)).length
  if (broken > 0) throw new StepError(`${broken} of ${rows.length} limits did not hold`)
})
