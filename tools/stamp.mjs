// @ts-check
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { alone } from './lock.mjs'
import { root } from './run.mjs'

/**
 * Tells whether an output was made from the current inputs, whose hash is in a stamp file. The stamp is removed before
 * anything changes and written last, so an interrupted output has none.
 *
 * @param {string} stamp path of the stamp file, relative to the root
 * @param {readonly string[]} inputs files and folders, relative to the root
 * @param {string} [salt] anything else that the output depends on
 */
export function freshness(stamp, inputs, salt = '') {
  const path = join(root, stamp)
  const isFresh = () => existsSync(path) && readFileSync(path, 'utf8') === digestOf(inputs, salt)
  return {
    isFresh,
    exists: () => existsSync(path),
    remove: () => rmSync(path, { force: true }),
    /** Records that something else has just made the output from the current inputs. */
    mark() {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, digestOf(inputs, salt))
    },

    /**
     * Makes the output again unless it is fresh, while no other command makes anything.
     *
     * @param {(whole: boolean) => Promise<unknown>} work is told whether a complete output of other inputs exists
     */
    async make(work) {
      if (isFresh()) return
      await alone(root, async () => {
        if (isFresh()) return
        const digest = digestOf(inputs, salt)
        const whole = existsSync(path)
        rmSync(path, { force: true })
        await work(whole)
        mkdirSync(dirname(path), { recursive: true })
        writeFileSync(path, digest)
      })
    }
  }
}

/**
 * @param {readonly string[]} inputs
 * @param {string} salt
 */
function digestOf(inputs, salt) {
  const hash = createHash('sha256').update(salt)
  for (const file of inputs.flatMap(filesOf))
    hash
      .update(file)
      .update('\0')
      .update(readFileSync(join(root, file)))
  return hash.digest('hex')
}

/**
 * @param {string} path
 * @returns {string[]}
 */
function filesOf(path) {
  if (!statSync(join(root, path)).isDirectory()) return [path]
  return readdirSync(join(root, path))
    .sort()
    .flatMap((name) => filesOf(join(path, name)))
}
