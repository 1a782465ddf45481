import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { connectionLimit, descriptorLimit, fileRoom } from '../src/descriptors.js'

describe('descriptorLimit', () => {
  it('is the soft limit of the kernel', () => {
    const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const file = join(folder, 'limits')
    writeFileSync(
      file,
      'Limit                     Soft Limit           Hard Limit           Units     \nMax open files            256                  4096                 files     \n'
    )
    expect(descriptorLimit(file)).toBe(256)
  })

  it('is undefined if the system has no /proc', () => {
    expect(descriptorLimit('/nowhere/limits')).toBeUndefined()
  })
})

it('fileRoom is the wanted number, or a sixteenth of a low limit', () => {
  expect([undefined, 20_000, 2048, 256, 8].map((descriptors) => fileRoom(128, descriptors ?? Infinity))).toEqual([
    128, 128, 128, 16, 1
  ])
})

describe('connectionLimit', () => {
  it('is the wanted number or what is left, and throws with advice if nothing is left', () => {
    expect(connectionLimit({ wanted: 1024, descriptors: undefined, reserve: 72 })).toBe(1024)
    expect(connectionLimit({ wanted: 1024, descriptors: 20_000, reserve: 72 })).toBe(1024)
    expect(connectionLimit({ wanted: 1024, descriptors: 256, reserve: 72 })).toBe(184)
    expect(() => connectionLimit({ wanted: 1024, descriptors: 64, reserve: 72 })).toThrow(
      'may open 64 descriptors, and needs 72 besides those for connections: raise the limit (ulimit -n)'
    )
  })
})
