import { expect, it } from 'vitest'
import { ATTACKS, overall, WAITING } from './run.mjs'

// `npm run abuse` runs all attacks, and also checks the limits on /health and on response times.
/** For one attack on a busy machine, in ms. They take up to a minute on two free cores. */
const PATIENCE_MS = 400_000

const names = Object.keys(ATTACKS).filter((name) => name !== 'everything')

async function underAttack(name: string): Promise<void> {
  const outcomes = await ATTACKS[name]!({ short: true })
  const rows = [...outcomes.flatMap(({ rows }) => rows), ...overall(outcomes)]
  const isHealth = ({ attack }: { attack: string }) => attack.startsWith('/health during')
  for (const { attack, limit, found } of rows.filter(isHealth)) console.log(`${attack} | ${limit} | ${found}`)
  expect(rows.filter((row) => row.held === false && !isHealth(row))).toEqual([])
}

it.concurrent.each(names.filter((name) => WAITING.has(name)))(
  'under attack (%s) every limit holds, and neither gateway nor worker is lost',
  underAttack,
  PATIENCE_MS
)

it.each(names.filter((name) => !WAITING.has(name)))(
  'under attack (%s) every limit holds, and neither gateway nor worker is lost',
  underAttack,
  PATIENCE_MS
)
