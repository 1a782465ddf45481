import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { GROWING_FLAG, makeRoomForPictures } from '../src/heap.js'

it('sets a flag that this V8 knows, because V8 only warns about an unknown one', () => {
  const known = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
  expect(known).toContain(`${GROWING_FLAG} `)
  expect(makeRoomForPictures).not.toThrow()
})
