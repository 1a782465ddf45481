// @ts-check
// npm run abuse: attacks gateways of the fake engine (files, unread answers, slow uploads, idle connections, kill -9, full
// disks and more), and prints one table of limits and findings. Arguments name the attacks to run. Linux only: it reads
// /proc; limits of memory are shown where it may make cgroups, as root.
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
      throw new StepError(`There is no attack ${name}; there are ${Object.keys(ATTACKS).join(', ')}`)
  const outcomes = await run(wanted.length === 0 ? Object.keys(ATTACKS) : wanted, (text) => console.log(`• ${text}`))
  const rows = [...outcomes.flatMap((outcome) => outcome.rows), ...overall(outcomes)]
  print(rows)
  const broken = rows.filter((row) => !holds(row)).length
  if (broken > 0) throw new StepError(`${broken} of ${rows.length} did not hold`)
})
