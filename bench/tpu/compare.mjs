// @ts-check
// npm run bench:tpu: the TPU compiler's counts for the full-size programs, ours and others', in one table. Reads the results
// that `npm run tpu:check` wrote; compiles nothing. Every figure is counted or computed, none is measured.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { root } from '../../tools/run.mjs'
import { table } from '../../tools/table.mjs'
import { countedRows, imageSeconds, rooflines } from './rows.mjs'

const folder = join(root, 'bench/tpu')
const STEPS = [20, 30, 40]

/** The goals for the programs for v5e:1x1, and upper limits of memory. */
export const TARGETS = { stepMs: 80, decodeMs: 60, stepTemporaryMib: 500, programMib: 150, int8StepMs: 60 }

/** Our programs and MaxDiffusion's, as the last checks counted them. */
export const counted = () => countedRows(join(folder, 'results'))

/** @param {readonly import('./rows.mjs').Row[]} rows */
function print(rows) {
  const header = [
    'computed, not measured',
    'images',
    'step ms',
    'temp MiB',
    'HBM GB',
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
        range(row.step),
        fixed(row.step?.temporaryMib, 0),
        fixed(row.step?.movedGb, 1),
        range(row.decode),
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

/** @param {import('./rows.mjs').Part | undefined} part */
function range(part) {
  if (part?.fromMs === undefined) return fixed(part?.ms, 1)
  return `${part.fromMs.toFixed(1)} to ${part.ms.toFixed(1)}`
}

/** Returns the whole comparison. */
export function compare() {
  /** @type {{ rows: import('./rows.mjs').Row[], note: string }} */
  const others = JSON.parse(readFileSync(join(folder, 'others.json'), 'utf8'))
  print([...others.rows, ...counted(), ...rooflines()])
  console.log(
    `\nRows without a result file: ${others.note}\nA range is from no memory to all memory that is not hidden (bench/tpu/README.md). "images" is the number that share a step on all chips. Seconds of an image: its steps and a decode, with that memory; with cache_interval 3, one step in three is a full one.`
  )
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) compare()
