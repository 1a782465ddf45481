// @ts-check
import { basename } from 'node:path'

const LOOK_EVERY_MS = 250

/**
 * Ends this script when npm has gone that started it. A `kill -9` of npm reaches nobody else, and npm passes a SIGTERM on to a
 * shell that stands between only to end it.
 *
 * Without npm nothing is watched: a shell that started the script may end before it.
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

/** Whether npm runs just this script: what npm sets is in the environment of everything below it, too. */
function startedByNpm() {
  const file = basename(process.argv[1] ?? '')
  return file !== '' && (process.env['npm_lifecycle_script'] ?? '').split(/[\s/]/).includes(file)
}
