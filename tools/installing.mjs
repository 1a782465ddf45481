// @ts-check
import { rm } from 'node:fs/promises'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { explain } from './failures.mjs'
import { root, run, step, StepError } from './run.mjs'

/**
 * Runs a step that fetches or writes much data. If it fails, the first line says why.
 *
 * @template T
 * @param {string} title
 * @param {string} folder where it writes, relative to the root
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function installing(title, folder, work) {
  try {
    return await step(title, work)
  } catch (error) {
    if (!(error instanceof Error) || !(error instanceof StepError || 'syscall' in error)) throw error
    throw new StepError(explain(title, error.message, join(root, folder)))
  }
}

/**
 * Makes a Python environment and installs packages with pip.
 *
 * @param {string} folder relative to the root
 * @param {string} base the Python to build on
 * @param {boolean} whole whether the existing environment is complete: pip takes an interrupted install for a finished one
 * @param {readonly (readonly string[])[]} installs arguments of `pip install`, one list per run
 */
export async function fillVenv(folder, base, whole, installs) {
  const own = join(root, folder, 'bin/python')
  if (!whole || !existsSync(own)) {
    await remove(join(root, folder))
    await run(base, ['-m', 'venv', join(root, folder)], { quiet: true })
  }
  for (const args of installs)
    await run(own, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', ...args], { quiet: true })
}

/**
 * Empties a folder without removing it: it may be a mount or a link.
 *
 * @param {string} folder
 */
export async function empty(folder) {
  if (existsSync(folder)) for (const name of readdirSync(folder)) await remove(join(folder, name))
}

/** @param {string} path */
export function remove(path) {
  return rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
}
