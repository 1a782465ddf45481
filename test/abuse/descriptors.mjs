// @ts-check
// Attack 8: more connections than file descriptors, and ten thousand connections.
import http from 'node:http'
import { amount, attacked } from './lib/attack.mjs'
import { ask, generate, SMALL } from './lib/http.mjs'
import { LEFT_MIB } from './lib/limits.mjs'
import { signal, waitFor } from './lib/proc.mjs'
import { idle, leaveAll } from './lib/raw.mjs'

/** @typedef {import('./lib/attack.mjs').Row} Row */

const FEW = 256
const MANY = 10_000
/** Descriptors that this process and the prober need for themselves. */
const OUR_OWN = 500
/** How long a killed worker may take to return, in ms. */
const BACK_MS = 15_000
const ANSWER_MS = 5000
const FAKE = '--sizes 64x64 --fake-step-ms 0'

/** @param {{ short?: boolean }} [options] */
export async function descriptorAttacks({ short = false } = {}) {
  const few = await attacked(
    `${FEW} descriptors`,
    { fake: FAKE, shell: `ulimit -n ${FEW}`, kills: 1 },
    async ({ gateway }) => {
      const crowd = await idle(gateway.port, FEW + 4)
      const [before] = gateway.workers()
      if (before !== undefined) signal(before, 'SIGKILL')
      const back = await waitFor(
        async () =>
          gateway.ended() || (gateway.workers().some((pid) => pid !== before) && (await fresh(gateway.url)) === 200),
        BACK_MS
      )
      const health = await ask(`${gateway.url}/health`, { most: ANSWER_MS })
      await leaveAll(crowd)
      return [
        {
          attack: `ulimit -n ${FEW}, ${FEW + 4} idle connections, its worker killed: an image`,
          limit: `200 within ${BACK_MS / 1000} s`,
          found: gateway.ended()
            ? `the gateway ended with ${gateway.status()}`
            : back === undefined
              ? 'none'
              : `200 after ${amount(back)} ms`,
          held: !gateway.ended() && back !== undefined
        },
        {
          attack: `ulimit -n ${FEW}, ${FEW + 4} idle connections: /health over a fresh connection`,
          limit: '200',
          found: String(health.status || health.body),
          held: health.status === 200
        }
      ]
    }
  )
  return short ? [few] : [few, await many()]
}

/** @param {string} url @returns the status of an image request over a fresh connection */
async function fresh(url) {
  return (await generate(url, SMALL, { most: ANSWER_MS })).status
}

function many() {
  return attacked(`${amount(MANY)} idle connections`, { fake: FAKE }, async ({ gateway, restMib }) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    await ask(`${gateway.url}/health`, { agent })
    const count = Math.min(MANY, descriptorLimit() - OUR_OWN)
    const crowd = await idle(gateway.port, count)
    const open = crowd.filter(({ isClosed }) => !isClosed).length
    const health = await ask(`${gateway.url}/health`, { most: ANSWER_MS })
    const kept = await ask(`${gateway.url}/health`, { agent, most: ANSWER_MS })
    const image = await fresh(gateway.url)
    const grown = gateway.rss() - restMib
    agent.destroy()
    await leaveAll(crowd)
    const what = `${amount(count)} idle connections${count < MANY ? ` (this process may not open ${amount(MANY)})` : ''}`
    /** @type {Row[]} */
    const rows = [
      {
        attack: `${what}: memory`,
        limit: `≤ ${LEFT_MIB} MiB more RSS`,
        found: `${amount(grown)} MiB (${amount(open)} connections stayed open)`,
        held: !gateway.ended() && grown <= LEFT_MIB
      },
      {
        attack: `${what}: /health over a fresh and a kept connection, and an image`,
        limit: `200 within ${ANSWER_MS / 1000} s each`,
        found: [health.status, kept.status, image].map((status) => status || 'no answer').join(', '),
        held: [health.status, kept.status, image].every((status) => status === 200)
      }
    ]
    return rows
  })
}

/** Returns how many files this process may open. */
function descriptorLimit() {
  const report = /** @type {{ userLimits: { open_files: { soft: number | 'unlimited' } } }} */ (
    process.report.getReport()
  )
  const { soft } = report.userLimits.open_files
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}
