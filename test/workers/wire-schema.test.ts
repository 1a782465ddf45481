import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { HEADERS } from '../../src/workers/protocol.js'

const SCHEMA = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: "Easel's wire, versions 1 to 3: the header of each kind of message",
  description:
    'Made from src/workers/protocol.ts. protocol/README.md says what the fields mean. Fields that are not named here are ignored.',
  $defs: HEADERS
}

it('protocol/messages.schema.json matches src/workers/protocol.ts', async () => {
  await expect(`${JSON.stringify(SCHEMA, undefined, 2)}\n`).toMatchFileSnapshot(
    join(packageRoot, 'protocol/messages.schema.json')
  )
})
