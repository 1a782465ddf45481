// @ts-check
import { basename } from 'node:path'

const LOOK_EVERY_MS = 250

/**
 * Ends this script when the npm that started it ends. A `kill -9` of npm does not reach the script, and npm sends SIGTERM only
 * to the shell between them.
 *
 * Does nothing without npm: a shell that started the script may end before it.
 */
export function endWithNpm() {
  if (!startedByNpm()) return
  const npm = process.ppid
  const look = setInterval(() => {
    if (process.ppid === npm) return
    clearInterval(look)
    process.kill(process.pid, 'SIGTERM')
  }, LOOK_EVERY_MS)
  look.unref()
}

/** Whether npm itself runs this script: all descendants inherit the variables that npm sets. */
function startedByNpm() {
  const file = basename(process.argv[1] ?? '')
  return file !== '' && (process.env['npm_lifecycle_script'] ?? '').split(/[\s/]/).includes(file)
}
