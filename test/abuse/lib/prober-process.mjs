// @ts-check
// The prober's process: `prober-process.mjs URL ADMIN_URL PID GUARD_MIB`. It ends with the process that started it.
import { Agent, get } from 'node:http'
import { lawGap, scrape } from '../../support/metrics.mjs'
import { residentMib } from '../../support/processes.mjs'
import { giveWay, PRIORITY } from './priority.mjs'
import { peakMib, signal } from './proc.mjs'

const TICK_MS = 50
const SCRAPE_EVERY = 6
/** How long the last requests may take after the end, in ms. */
const PATIENCE_MS = 15_000

const [url = '', adminUrl = '', ...numbers] = process.argv.slice(2)
const [pid = 0, guardMib = 0] = numbers.map(Number)
giveWay(PRIORITY.prober)
const keepAlive = () => new Agent({ keepAlive: true, maxSockets: 1 })

/**
 * Ways to send a request; each tick uses the next one of either list.
 *
 * @typedef {{ list: 'admin' | 'kept' | 'fresh', at: string, agent: Agent | false }} Way
 * @type {readonly [Way, Way]}
 */
const AS_PROBES = [
  { list: 'admin', at: adminUrl, agent: keepAlive() },
  { list: 'admin', at: adminUrl, agent: false }
]
/** @type {readonly [Way, Way]} */
const AS_CLIENTS = [
  { list: 'kept', at: url, agent: keepAlive() },
  { list: 'fresh', at: url, agent: false }
]

/** @type {import('./prober.mjs').Probed} */
const probed = {
  admin: [],
  kept: [],
  fresh: [],
  late: [],
  scrapes: 0,
  gaps: [],
  last: new Map(),
  peakMib: 0,
  guarded: false
}
/** @type {Set<Promise<void>>} */
const open = new Set()
let paused = false
let scraping = false

/** @param {Way} way */
async function ask({ list, at, agent }) {
  const start = performance.now()
  const answered = await new Promise((resolve) => {
    const request = get(`${at}/health`, { agent, timeout: PATIENCE_MS }, (answer) => {
      answer.resume()
      answer.once('close', () => resolve(answer.complete))
    })
    request.once('timeout', () => request.destroy())
    request.once('error', () => resolve(false))
  })
  probed[list].push(answered ? performance.now() - start : Number.POSITIVE_INFINITY)
}

async function note() {
  if (scraping) return
  scraping = true
  try {
    probed.last = await scrape(adminUrl)
    probed.scrapes += 1
    const gap = lawGap(probed.last)
    if (gap !== 0) probed.gaps.push(gap)
  } catch {
    // /health shows that the gateway does not answer.
  }
  scraping = false
}

function measure() {
  probed.peakMib = Math.max(probed.peakMib, peakMib(pid) ?? 0)
  if ((residentMib(pid) ?? 0) <= guardMib) return
  probed.guarded = true
  signal(pid, 'SIGKILL')
}

/** @param {Promise<void>} question */
function keep(question) {
  open.add(question)
  void question.finally(() => open.delete(question))
}

// Connect before the attack begins.
keep(Promise.all([ask(AS_PROBES[0]), ask(AS_CLIENTS[0])]).then(() => void process.send?.('asks')))

let ticks = 0
let due = performance.now()
const clock = setInterval(() => {
  probed.late.push(Math.max(0, performance.now() - due - TICK_MS))
  due = performance.now()
  measure()
  if (paused) return
  for (const ways of [AS_PROBES, AS_CLIENTS]) keep(ask(ticks % 2 === 0 ? ways[0] : ways[1]))
  if (ticks % SCRAPE_EVERY === 0) keep(note())
  ticks += 1
}, TICK_MS)

process.on('message', async (message) => {
  if (message !== 'stop') {
    paused = message === 'pause'
    return
  }
  clearInterval(clock)
  await Promise.all(open)
  await note()
  measure()
  process.send?.(probed)
})
process.once('disconnect', () => process.exit())
