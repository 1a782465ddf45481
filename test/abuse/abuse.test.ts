import { describe, expect, it } from 'vitest'
import { ATTACKS, overall } from './run.mjs'

// `npm run abuse` has all attacks, and holds /health and the times of answers to their limits, too.
describe.each(Object.keys(ATTACKS).filter((name) => name !== 'everything'))('under attack: %s', (name) => {
  it('every limit holds, the law holds, and neither gateway nor worker is lost', async () => {
    const outcomes = await ATTACKS[name]!({ short: true })
    const rows = [...outcomes.flatMap(({ rows }) => rows), ...overall(outcomes)]
    const isHealth = ({ attack }: { attack: string }) => attack.startsWith('/health during')
    for (const { attack, limit, found } of rows.filter(isHealth)) console.log(`${attack} | ${limit} | ${found}`)
    expect(rows.filter((row) => row.held === false && !isHealth(row))).toEqual([])
  }, 120_000)
})
