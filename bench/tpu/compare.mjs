// @ts-check
// npm run bench:tpu: the TPU compiler's counts for the full-size programs, ours and others', in one table. Reads the results
// that `npm run tpu:check` wrote; compiles nothing. Every figure is counted or computed, none is measured.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../../tools/run.mjs'
import { table } from '../../tools/table.mjs'
import { imageSeconds, ourRows, rooflines } from './rows.mjs'

const folder = join(root, 'bench/tpu')
const STEPS = [20, 30, 40]

/** Upper limits for the programs for v5e:1x1. */
export const TARGETS = { stepMs: 105, decodeMs: 80, stepTemporaryMib: 500, programMib: 150, int8StepMs: 80 }

/** Our programs, as the last checks counted them. */
export const ours = () => ourRows(join(folder, 'results'))

/** @param {readonly import('./rows.mjs').Row[]} rows */
function print(rows) {
  const header = [
    'computed, not measured',
    'images',
    'step ms',
    'temp MiB',
    'moved GB',
    'decode ms',
    'temp MiB',
    ...STEPS.map((steps) => `${steps} steps s`)
  ]
  console.log(
    table(
      header,
      rows.map((row) => [
        row.name,
        String(row.step?.images ?? 1),
        fixed(row.step?.ms, 1),
        fixed(row.step?.temporaryMib, 0),
        fixed(row.step?.movedGb, 1),
        fixed(row.decode?.ms, 1),
        fixed(row.decode?.temporaryMib, 0),
        ...STEPS.map((steps) => fixed(imageSeconds(row, rows, steps), 2))
      ])
    )
  )
}

/**
 * @param {number | undefined} value
 * @param {number} digits
 */
function fixed(value, digits) {
  return value === undefined ? '-' : value.toFixed(digits)
}

/** Returns the whole comparison. */
export function compare() {
  /** @type {{ rows: import('./rows.mjs').Row[], note: string }} */
  const others = JSON.parse(readFileSync(join(folder, 'others.json'), 'utf8'))
  print([...others.rows, ...ours(), ...rooflines()])
  console.log(
    `\nOthers: ${others.note}\nOurs: the same, and for kernels the longer of roofline and schedule; "images" is the number that share a step on all chips. Seconds of an image: its steps and a decode; with cache_interval 3, one step in three is a full one.`
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) compare()
