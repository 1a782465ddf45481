import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../src/gateway-options.js'
import { catalogue, EaselError, errorBody, type ErrorCode } from '../src/errors.js'

const codes = Object.keys(catalogue) as ErrorCode[]

it('docs/errors.md lists exactly the codes of the catalogue with status and meaning', () => {
  const rows = readFileSync(join(packageRoot, 'docs/errors.md'), 'utf8').match(/^\| `.*$/gm)!
  expect(rows.map((row) => row.split('`')[1])).toEqual(codes)
  for (const [index, code] of codes.entries()) {
    expect(rows[index]).toContain(`| ${catalogue[code].status} `)
    expect(rows[index]).toContain(catalogue[code].summary)
  }
})

it('an error body does not expose the cause', () => {
  const error = new EaselError('INTERNAL', undefined, { cause: new Error('secret path') })
  expect(errorBody(error, 'r-1')).toEqual({
    statusCode: 500,
    code: 'INTERNAL',
    error: 'Internal Server Error',
    message: catalogue.INTERNAL.summary,
    requestId: 'r-1'
  })
  expect(JSON.stringify(errorBody(error, 'r-1'))).not.toContain('secret')
})
