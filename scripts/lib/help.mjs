// @ts-check
// Prints --help and --version before anything is installed. Reads the options from docs/configuration.md, which the programs
// generate, because the programs themselves need packages and a build.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from '../../tools/run.mjs'

/** @typedef {{ variable: string, flag: string, fallback: string, doc: string }} Row */

const PROGRAMS = {
  gateway: {
    name: 'easel',
    title: 'easel: serves SDXL text-to-image over HTTP\n\nusage: npm start -- [options]',
    section: 'Gateway',
    sets: 'npm start sets LOG_FORMAT=pretty and COMPILE_CACHE=.cache/compile unless they are set.'
  },
  page: {
    name: 'easel-web',
    title:
      "easel-web: serves Easel's web page and forwards its requests to a gateway\n\nusage: npm run start:web -- [options]",
    section: 'Web page',
    sets: 'npm run start:web sets LOG_FORMAT=pretty unless it is set.'
  }
}

/** Variables that the gateway sets for a worker that it starts. */
const GIVEN = /^EASEL_|^EXIT_WITH_PARENT$/

/**
 * Answers --help and --version.
 *
 * @param {keyof typeof PROGRAMS} program
 * @param {readonly string[]} args
 * @returns {boolean} whether the arguments asked for either, so that the script can end
 */
export function answered(program, args) {
  if (args.includes('--help') || args.includes('-h')) process.stdout.write(helpOf(program))
  else if (args.includes('--version')) process.stdout.write(`${PROGRAMS[program].name} ${version()}\n`)
  else return false
  return true
}

/** @param {keyof typeof PROGRAMS} program */
export function helpOf(program) {
  const { title, section, sets } = PROGRAMS[program]
  const page = readFileSync(join(root, 'docs/configuration.md'), 'utf8')
  const options = rows(page, section)
  const entries = options.map(
    ({ variable, flag, fallback, doc }) => `  ${flag}\n      ${variable}${shown(fallback)}\n      ${doc}`
  )
  const end = '  -h, --help\n      Print this.\n  --version\n      Print the version.\n'
  return `${title}\n\nEach option is a flag or an environment variable; the flag has precedence. ${sets}\n\n${entries.join('\n')}\n${end}${program === 'gateway' ? workerPart(page, options) : ''}`
}

/**
 * @param {string} page
 * @param {readonly Row[]} gateway
 */
function workerPart(page, gateway) {
  const known = new Set(gateway.map(({ variable }) => variable))
  const own = rows(page, 'Worker').filter(({ variable }) => !known.has(variable) && !GIVEN.test(variable))
  const entries = own.map(
    ({ variable, flag, fallback, doc }) => `  ${variable}${shown(fallback)}, or --worker-args '${flag}'\n      ${doc}`
  )
  return `\nIts workers read these environment variables:\n\n${entries.join('\n')}\n`
}

/** @param {string} fallback */
function shown(fallback) {
  return fallback === '' ? '' : ` [${fallback}]`
}

/**
 * Reads a section's table.
 *
 * @param {string} page
 * @param {string} section
 * @returns {Row[]}
 */
function rows(page, section) {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${section}\n`)) ?? ''
  return [...text.matchAll(/^\| `([^`]+)` \| `([^`]+)` \| (?:`([^`]*)`)? \| (.*) \|$/gm)].map((cells) => {
    const [, variable = '', flag = '', fallback = '', doc = ''] = cells.map((cell) =>
      (cell ?? '').replaceAll('\\|', '|')
    )
    return { variable, flag, fallback, doc }
  })
}

function version() {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version
}
