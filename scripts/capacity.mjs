// @ts-check
// Prints the tables of docs/capacity.md, or the row for one load:
//
//   node scripts/capacity.mjs --images-per-second 2 --steps 30 [--size 1024] [--chip v5e] [--efficiency 0.4]
import { parseArgs } from 'node:util'
import { CHIPS, chipsFor, meanWait, secondsPerImage } from './lib/capacity.mjs'

/** Shares of the chip's peak: the limit, the best published value for v5e, and the value to plan with. */
export const EFFICIENCIES = [1, 0.626, 0.4]

/** @param {readonly (string | number)[][]} rows */
const lines = (rows) => rows.map((row) => `| ${row.join(' | ')} |`).join('\n')

/** Returns the tables of docs/capacity.md. */
export function tables() {
  const steps = [20, 30, 40]
  const times = Object.keys(CHIPS).flatMap((chip) =>
    steps.map((count) => [
      chip,
      count,
      ...EFFICIENCIES.map((efficiency) =>
        secondsPerImage({ steps: count, chip: /** @type {keyof typeof CHIPS} */ (chip), efficiency }).toFixed(2)
      )
    ])
  )
  const seconds = secondsPerImage({ steps: 30, efficiency: 0.4 })
  const chips = [0.1, 0.5, 1, 2, 5, 10].map((imagesPerSecond) => [
    imagesPerSecond,
    chipsFor({ imagesPerSecond, seconds }),
    chipsFor({ imagesPerSecond, seconds, spare: 1 })
  ])
  const waits = [0.5, 0.7, 0.8, 0.9].map((utilization) => [
    `${utilization * 100} %`,
    ...[1, 2, 4, 8].map((count) => meanWait(utilization, count).toFixed(2))
  ])
  return { times: lines(times), chips: lines(chips), waits: lines(waits) }
}

function main() {
  const { values } = parseArgs({
    options: {
      'images-per-second': { type: 'string' },
      steps: { type: 'string', default: '30' },
      size: { type: 'string', default: '1024' },
      chip: { type: 'string', default: 'v5e' },
      efficiency: { type: 'string', default: '0.4' }
    }
  })
  if (values['images-per-second'] === undefined) return Object.values(tables()).join('\n\n')
  const seconds = secondsPerImage({
    steps: Number(values.steps),
    size: Number(values.size),
    chip: /** @type {keyof typeof CHIPS} */ (values.chip),
    efficiency: Number(values.efficiency)
  })
  const chips = chipsFor({ imagesPerSecond: Number(values['images-per-second']), seconds })
  return `computed: ${seconds.toFixed(2)} s per image, ${chips} chips at 70 % utilization, plus one on spot nodes`
}

if (process.argv[1] === import.meta.filename) process.stdout.write(`${main()}\n`)
