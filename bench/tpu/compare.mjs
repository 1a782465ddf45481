// @ts-check
// npm run bench:tpu: what the compiler for TPUs counts of the full-size programs, ours and others', in one table. Reads the
// results that `npm run tpu:check` leaves; compiles nothing. Every figure is counted or computed, none measured.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../../tools/run.mjs'
import { table } from '../../tools/table.mjs'
import { imageSeconds, ourRows, rooflines } from './rows.mjs'

const folder = join(root, 'bench/tpu')
const STEPS = [20, 30, 40]

/** What the programs for v5e:1x1 are to stay under. */
export const TARGETS = { stepMs: 105, decodeMs: 80, stepTemporaryMib: 500, programMib: 150, int8StepMs: 80 }

/** Ours, as the last checks counted them. */
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

/** The whole comparison. */
export function compare() {
  /** @type {{ rows: import('./rows.mjs').Row[], note: string }} */
  const others = JSON.parse(readFileSync(join(folder, 'others.json'), 'utf8'))
  print([...others.rows, ...ours(), ...rooflines()])
  console.log(
    `\nOthers: ${others.note}\nOurs: the same, and for kernels the longer of roofline and schedule; "images" share a step on all chips together. Images by seconds: steps and a decode; with cache_interval 3 one step of three is whole.`
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) compare()
