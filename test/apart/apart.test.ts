import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { loopback } from './cables.mjs'
import { judge } from './judge.mjs'
import { runApart } from './run.mjs'

// `npm run apart` does the same for longer, and as root in network namespaces. A cable is here a relay that stops to pass
// bytes on, which needs no rights.
it('a gateway apart answers each request once, with the bytes as alone, while workers are killed, frozen and cut off and it is replaced', async () => {
  expect(existsSync(join(packageRoot, 'dist/main.js')), 'npm run build').toBe(true)
  const observed = await runApart(loopback(), { rounds: 1, clients: 6 })
  expect(judge(observed).filter(({ ok }) => !ok)).toEqual([])
}, 900_000)
