// @ts-check
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { root } from './run.mjs'

/**
 * Whether something was made from just these inputs; the hash of the inputs is kept in a stamp file beside it.
 *
 * @param {string} stamp path of the stamp file, from the root
 * @param {readonly string[]} inputs files and folders, from the root
 * @param {string} [salt] whatever else it depends on
 */
export function freshness(stamp, inputs, salt = '') {
  const path = join(root, stamp)
  const hash = createHash('sha256').update(salt)
  for (const file of inputs.flatMap(filesOf)) hash.update(file).update('\0').update(readFileSync(join(root, file)))
  const digest = hash.digest('hex')
  return {
    fresh: existsSync(path) && readFileSync(path, 'utf8') === digest,
    mark() {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, digest)
    }
  }
}

/**
 * @param {string} path
 * @returns {string[]}
 */
function filesOf(path) {
  if (!statSync(join(root, path)).isDirectory()) return [path]
  return readdirSync(join(root, path)).sort().flatMap((name) => filesOf(join(path, name)))
}
