// @ts-check
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { dispose, endWithChildren, startChild, stopped } from './children.mjs'
import { endWithNpm } from './parent.mjs'

/** The folder with package.json. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)))

/** A failed step; the message tells the reader what to do. */
export class StepError extends Error {}

/**
 * Runs a command to its end, and shows its output at once or, with `quiet`, only if it fails. A quiet command is short or
 * installs packages, so a signal may kill it early.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, quiet?: boolean, label?: string, timeout?: number }} [options] `label`
 *   prefixes each line of output, for commands that run at the same time; after `timeout` ms the command gets SIGTERM
 * @returns {Promise<string>} the output of a quiet command
 */
export function run(command, args, { cwd = root, env = process.env, quiet = false, label, timeout } = {}) {
  return new Promise((resolve, reject) => {
    const piped = quiet || label !== undefined
    const child = startChild(command, args, {
      cwd,
      env,
      ...(timeout !== undefined && { timeout }),
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
 * Returns the last JSON object that a command prints on a line of its own.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeout?: number }} [options]
 * @returns {Promise<any>}
 */
export async function runForJson(command, args, options = {}) {
  const output = await run(command, args, { ...options, quiet: true })
  const line = output.split('\n').findLast((each) => each.startsWith('{'))
  if (line === undefined) throw new StepError(`${output}\n${[command, ...args].join(' ')} printed no JSON object`)
  return JSON.parse(line)
}

/**
 * Prints a step's title, runs it, and prints how long it took.
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
 * Returns whether the disk is full or not writable for this user. The message has the path.
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
 * Runs a script's main function. An expected error becomes one readable line and status 1. A signal, or the end of the npm
 * that runs it, ends the script's children and then the script.
 *
 * @param {() => Promise<void>} main
 */
export async function script(main) {
  endWithChildren()
  endWithNpm()
  try {
    await main()
  } catch (error) {
    // Children failed because the script ended them.
    if (stopped()) return
    if (!(error instanceof StepError || isOfTheDisk(error))) throw error
    process.stderr.write(`\n✗ ${error.message.trim()}\n`)
    process.exitCode = 1
  }
}
