import { tmpdir } from 'node:os'
import { expect, it, vi } from 'vitest'
import { browser } from '../../../tools/browser.mjs'

it('says how to install a browser if none is found, and uses a given one', () => {
  vi.stubEnv('PATH', tmpdir())
  vi.stubEnv('CHROMIUM', '')
  // On macOS the browser is not on the PATH.
  if (process.platform !== 'darwin') expect(browser).toThrow(/apt-get install chromium/)
  vi.stubEnv('CHROMIUM', '/somewhere/chrome')
  expect(browser()).toBe('/somewhere/chrome')
  vi.unstubAllEnvs()
})
