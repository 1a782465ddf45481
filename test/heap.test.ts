import { execFileSync } from 'node:child_process'
import { expect, it } from 'vitest'
import { GROWING_FLAG, makeRoomForPictures } from '../src/heap.js'

it('sets a flag that the V8 of this Node has: of one that it does not know it only complains', () => {
  const known = execFileSync(process.execPath, ['--v8-options'], { encoding: 'utf8' })
  expect(known).toContain(`${GROWING_FLAG} `)
  expect(makeRoomForPictures).not.toThrow()
})
