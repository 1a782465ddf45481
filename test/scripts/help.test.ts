import { expect, it } from 'vitest'
import { helpOf } from '../../scripts/lib/help.mjs'
import { help, options } from '../../src/gateway-options.js'
import { webHelp } from '../../src/webapp/web-options.js'

/** The options of a help text, without what stands before and after them. */
function optionsOf(text: string): string {
  return text.slice(text.indexOf('  --'), text.indexOf('  -h, --help'))
}

it('npm start -- --help lists the options as the gateway does itself', () => {
  expect(optionsOf(helpOf('gateway'))).toBe(optionsOf(help()))
})

it('npm run start:web -- --help lists the options as the page does itself', () => {
  expect(optionsOf(helpOf('page'))).toBe(optionsOf(webHelp()))
})

it('npm start -- --help lists what the workers read, but for what the gateway tells them', () => {
  const text = helpOf('gateway')
  const [, workers = ''] = text.split('Its workers read')
  const listed = [...workers.matchAll(/^ {2}([A-Z_]+)/gm)].map(([, name]) => name)
  expect(listed).toEqual(expect.arrayContaining(['SIZES', 'ROWS', 'DTYPE', 'QUANTIZATION', 'FAKE_STEP_MS']))
  expect(listed).not.toContain('EASEL_CONNECT')
  const gateways = new Set(Object.values(options).map(({ env }) => env))
  expect(listed.filter((name) => gateways.has(name!))).toEqual([])
  expect(workers).toContain("  ROWS, or --worker-args '--rows <ROWS>'\n      How many rows")
})
