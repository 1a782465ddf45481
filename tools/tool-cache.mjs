// @ts-check
// Tools that only tests need, fetched once to .cache/.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { installing, remove } from './installing.mjs'
import { alone } from './lock.mjs'
import { root, run } from './run.mjs'
import { python } from './setup.mjs'

const CACHE = '.cache/tools'

/**
 * Makes a folder of the cache unless it exists. It appears complete or not at all.
 *
 * @param {string} name
 * @param {string} title
 * @param {(folder: string) => Promise<void>} make
 */
export async function cached(name, title, make) {
  const target = join(root, CACHE, name)
  if (existsSync(target)) return target
  await alone(root, async () => {
    if (existsSync(target)) return
    const fresh = `${target}.unfinished`
    await remove(fresh)
    mkdirSync(fresh, { recursive: true })
    await installing(title, CACHE, () => make(fresh))
    renameSync(fresh, target)
  })
  return target
}

/**
 * Makes a Python environment with only the packages of a lock file.
 *
 * @param {string} name
 * @param {string} lockFile with hashes; relative to the repository
 * @param {string} title
 * @returns {Promise<string>} the environment's Python
 */
export async function pythonTools(name, lockFile, title) {
  const folder = await cachedByLock(name, lockFile, title, async (folder) => {
    await run(python, ['-m', 'venv', folder], { quiet: true })
    await installLocked(join(folder, 'bin/python'), lockFile, ['--only-binary=:all:'])
  })
  return join(folder, 'bin/python')
}

/**
 * Like `cached`, with a separate folder for each content of a lock file.
 *
 * @param {string} name
 * @param {string} lockFile relative to the repository
 * @param {string} title
 * @param {(folder: string) => Promise<void>} make
 */
export function cachedByLock(name, lockFile, title, make) {
  const content = readFileSync(join(root, lockFile))
  return cached(`${name}-${createHash('sha256').update(content).digest('hex').slice(0, 12)}`, title, make)
}

/**
 * Installs the packages of a lock file with hashes.
 *
 * @param {string} withPython the Python whose pip is used
 * @param {string} lockFile relative to the repository
 * @param {readonly string[]} options more options for pip
 */
export async function installLocked(withPython, lockFile, options) {
  const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes']
  await run(withPython, [...install, ...options, '-r', lockFile], { quiet: true })
}
