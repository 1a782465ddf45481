// @ts-check
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { releaseSignals } from '../../tools/children.mjs'
import { root } from '../../tools/run.mjs'

/**
 * Becomes a built program: it runs in this process, so that a signal to this script is one to the program, and none is left
 * behind when the other ends.
 *
 * @param {string} program such as dist/main.js
 * @param {readonly string[]} args
 * @param {Record<string, string>} settings environment variables, unless they are set
 */
export async function serve(program, args, settings) {
  const file = join(root, program)
  process.argv.splice(1, Infinity, file, ...args)
  for (const [name, value] of Object.entries(settings)) process.env[name] ||= value
  releaseSignals()
  await import(pathToFileURL(file).href)
}
