// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { releaseSignals } from '../../tools/children.mjs'
import { root } from '../../tools/run.mjs'

/**
 * Runs a built program in this process, so that signals to this script reach it, and neither can outlive the other.
 *
 * @param {string} program such as dist/main.js
 * @param {readonly string[]} args
 * @param {Record<string, string>} settings defaults of environment variables
 */
export async function serve(program, args, settings) {
  const file = join(root, program)
  process.argv.splice(1, Infinity, file, ...args)
  for (const [name, value] of Object.entries(settings)) process.env[name] ||= value
  releaseSignals()
  await import(pathToFileURL(file).href)
}
