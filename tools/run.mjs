// @ts-check
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { dispose, endWithChildren, startChild, stopped } from './children.mjs'
import { endWithNpm } from './parent.mjs'

/** The folder that holds package.json. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A step that cannot be done; the message tells the reader what to do. */
export class StepError extends Error {}

/**
 * Runs a command to its end with its output shown, or kept back until it fails. One that is quiet is short, or installs: a
 * signal ends it soon.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, quiet?: boolean, label?: string }} [options] `label` stands before each
 *   line that is shown, for a command that runs beside another
 * @returns {Promise<string>} what it printed, when quiet
 */
export function run(command, args, { cwd = root, env = process.env, quiet = false, label } = {}) {
  return new Promise((resolve, reject) => {
    const piped = quiet || label !== undefined
    const child = startChild(command, args, {
      cwd,
      env,
      stdio: piped ? ['ignore', 'pipe', 'pipe'] : ['ignore', 'inherit', 'inherit']
    })
    if (quiet) dispose(child)
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      if (stream === null) continue
      if (label === undefined)
        stream.on('data', (chunk) => {
          output += chunk
        })
      else createInterface(stream).on('line', (line) => process.stdout.write(`${label} │ ${line}\n`))
    }
    child.once('error', (error) => reject(new StepError(`${command}: ${error.message}`)))
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output)
      else reject(new StepError(`${output}\n${[command, ...args].join(' ')} ended with ${signal ?? `status ${code}`}`))
    })
  })
}

/**
 * Says what is being done and, at its end, how long it took.
 *
 * @template T
 * @param {string} title
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const start = performance.now()
  process.stdout.write(`• ${title} …\n`)
  const result = await work()
  process.stdout.write(`  done in ${((performance.now() - start) / 1000).toFixed(1)} s\n`)
  return result
}

/**
 * Whether the disk takes nothing more, or not from this user. The message has the path.
 *
 * @param {unknown} error
 * @returns {error is Error}
 */
function isOfTheDisk(error) {
  return (
    error instanceof Error && 'code' in error && ['ENOSPC', 'EDQUOT', 'EROFS', 'EACCES'].includes(String(error.code))
  )
}

/**
 * Runs a script's main function: an error that it foresees becomes one readable line and status 1. A signal, or the end of the
 * npm that runs it, ends what it has started first, then the script.
 *
 * @param {() => Promise<void>} main
 */
export async function script(main) {
  endWithChildren()
  endWithNpm()
  try {
    await main()
  } catch (error) {
    // What was started has failed because it was told to end.
    if (stopped()) return
    if (!(error instanceof StepError || isOfTheDisk(error))) throw error
    process.stderr.write(`\n✗ ${error.message.trim()}\n`)
    process.exitCode = 1
  }
}
