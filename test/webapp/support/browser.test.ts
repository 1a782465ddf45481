import { tmpdir } from 'node:os'
import { expect, it, vi } from 'vitest'
import { browser } from '../../../tools/browser.mjs'

it('says how to get a browser where there is none, and takes the one that it is given', () => {
  vi.stubEnv('PATH', tmpdir())
  vi.stubEnv('CHROMIUM', '')
  // On a Mac the browser is not on the PATH.
  if (process.platform !== 'darwin') expect(browser).toThrow(/apt-get install chromium/)
  vi.stubEnv('CHROMIUM', '/somewhere/chrome')
  expect(browser()).toBe('/somewhere/chrome')
  vi.unstubAllEnvs()
})
