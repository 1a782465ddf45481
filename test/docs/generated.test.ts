import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { configurationPage } from './configuration.js'
import { parametersPage } from './parameters.js'

it('docs/configuration.md is what the programs say', async () => {
  await expect(configurationPage()).toMatchFileSnapshot(join(packageRoot, 'docs/configuration.md'))
})

it('docs/parameters.md is what the table of parameters says', async () => {
  await expect(parametersPage()).toMatchFileSnapshot(join(packageRoot, 'docs/parameters.md'))
})
