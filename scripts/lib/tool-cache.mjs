// @ts-check
// Tools that only tests need, kept in .cache/ so that they are fetched once.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { root, run, step } from './run.mjs'
import { python } from './setup.mjs'

const cache = join(root, '.cache/tools')

/**
 * Makes a folder of the cache unless it is there. It appears complete or not at all, also when two processes make it at once.
 *
 * @param {string} name
 * @param {string} title
 * @param {(folder: string) => Promise<void>} make
 */
export async function cached(name, title, make) {
  const target = join(cache, name)
  if (existsSync(target)) return target
  mkdirSync(cache, { recursive: true })
  const fresh = mkdtempSync(`${target}.`)
  try {
    await step(title, () => make(fresh))
    renameSync(fresh, target)
  } catch (error) {
    rmSync(fresh, { recursive: true, force: true })
    if (!existsSync(target)) throw error
  }
  return target
}

/**
 * A Python environment with the packages of a lock file and nothing else.
 *
 * @param {string} name
 * @param {string} lockFile with hashes; relative to the repository
 * @param {string} title
 * @returns {Promise<string>} the environment's Python
 */
export async function pythonTools(name, lockFile, title) {
  const lock = createHash('sha256').update(readFileSync(join(root, lockFile))).digest('hex').slice(0, 12)
  const folder = await cached(`${name}-${lock}`, title, async (folder) => {
    await run(python, ['-m', 'venv', folder], { quiet: true })
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes', '--only-binary=:all:']
    await run(join(folder, 'bin/python'), [...install, '-r', lockFile], { quiet: true })
  })
  return join(folder, 'bin/python')
}
