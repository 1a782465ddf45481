// @ts-check
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { root } from '../../../tools/run.mjs'

/** @type {string | undefined} */
let help

/**
 * Tells whether the built gateway has an option. A gateway without it is attacked too, with the same limits.
 *
 * @param {string} name of its environment variable
 */
export function has(name) {
  help ??= execFileSync(process.execPath, [join(root, 'dist/main.js'), '--help'], { encoding: 'utf8' })
  return new RegExp(String.raw`\b${name}\b`).test(help)
}
