// @ts-check
// Prints the tables of docs/capacity.md, or the row for one load:
//
//   node scripts/capacity.mjs --images-per-second 2 --steps 30 [--size 1024] [--chip v5e] [--efficiency 0.4]
import { parseArgs } from 'node:util'
import { chipHours, CHIPS, chipsFor, meanWait, secondsPerImage, utilizationAt } from './lib/capacity.mjs'

/** Shares of the chip's peak: the limit, the best published value for v5e, and the value to plan with. */
export const EFFICIENCIES = [1, 0.626, 0.4]

/** Dollars for an hour: of a v5e chip on demand, and of the node of a gateway apart (e2-standard-4). */
export const PRICES = { chip: 1.2, node: 0.134 }

/** Images wait for this share of an image's time, on average, where a shape is said to be full. */
const WAIT = 0.5

/** Eight chips in each shape, by how many chips share a queue. */
const SHAPES = [
  { name: 'eight Pods of one chip, behind a Service', sharing: 1, gateways: 0 },
  { name: 'one Pod of eight chips (`tpu-v5e-2x4`)', sharing: 8, gateways: 0 },
  { name: 'a gateway apart, eight workers (`gke-apart`)', sharing: 8, gateways: 1 }
]

/** @param {number} seconds of one chip for an image */
function shapes(seconds) {
  return SHAPES.map(({ name, sharing, gateways }) => {
    const utilization = utilizationAt(WAIT, sharing)
    const imagesPerSecond = (8 * utilization) / seconds
    const hours = chipHours({ seconds, utilization })
    const dollars = hours * PRICES.chip + (gateways * PRICES.node * 1000) / imagesPerSecond / 3600
    return [
      name,
      `${Math.round(utilization * 100)} %`,
      imagesPerSecond.toFixed(2),
      hours.toFixed(2),
      dollars.toFixed(2)
    ]
  })
}

/** Chip-hours of 1,000 images a day in `bursts`, and of a day with a chip that is always there. */
function days(/** @type {number} */ seconds) {
  // After a burst: cooldownPeriod of the component autoscale-keda-workers. Before it: a start, not measured.
  const [idle, start] = [900, 600]
  const work = (1000 * seconds) / 3600
  return [
    ['a chip that is always there', '24.00', (24 * PRICES.chip).toFixed(2)],
    ...[2, 8, 24].map((bursts) => {
      const hours = work + (bursts * (idle + start)) / 3600
      return [
        `\`gke-apart\`, ${bursts} bursts a day`,
        hours.toFixed(2),
        (hours * PRICES.chip + 24 * PRICES.node).toFixed(2)
      ]
    })
  ]
}

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
  return {
    times: lines(times),
    chips: lines(chips),
    waits: lines(waits),
    shapes: lines(shapes(seconds)),
    days: lines(days(seconds))
  }
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
