// @ts-check
// The browser for the web page's tests: the system's own, since no npm package contains one.
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { run, step, StepError } from './run.mjs'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'microsoft-edge']
const MAC = ['Google Chrome', 'Chromium', 'Microsoft Edge'].map(
  (name) => `/Applications/${name}.app/Contents/MacOS/${name}`
)

/**
 * Returns the path of a Chromium: $CHROMIUM, else one on the PATH.
 *
 * @returns {string}
 * @throws StepError that says how to get one
 */
export function browser() {
  const found = find()
  if (found !== undefined) return found
  throw new StepError(
    "The web page's tests need Chromium, and none is on the PATH. On Debian and Ubuntu: apt-get install chromium.\n" +
      'On macOS any Chrome works. CHROMIUM can name another path.'
  )
}

/** Finds a browser; on a Debian machine in CI, installs one. */
export async function installBrowser() {
  const ours = process.env['CI'] !== undefined && process.getuid?.() === 0 && onPath('apt-get') !== undefined
  if (find() === undefined && ours) {
    await step('Installing Chromium', async () => {
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
      await run('apt-get', ['update', '--quiet'], { env, quiet: true })
      await run('apt-get', ['install', '--yes', '--quiet', '--no-install-recommends', 'chromium', 'fonts-liberation'], {
        env,
        quiet: true
      })
    })
  }
  browser()
}

function find() {
  const given = process.env['CHROMIUM']
  if (given) return given
  return NAMES.map(onPath).find((path) => path !== undefined) ?? MAC.find(runs)
}

/** @param {string} name */
function onPath(name) {
  return (process.env['PATH'] ?? '')
    .split(delimiter)
    .map((folder) => join(folder, name))
    .find(runs)
}

/** @param {string} path */
function runs(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
