import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { prometheus } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { generate, openServer } from '../support/server.js'
import { INSTALL_MS } from './manifests.js'
import { alerts, autoscaling, dashboardQueries, metricsIn, panels } from './monitoring.js'

/** What a gateway with a worker says at GET /metrics. */
let scrape: string
/** Types by name. */
let types: Map<string, string>

beforeAll(async () => {
  const { server, stop } = await openServer()
  await server.pool.firstReady
  await generate(server, { prompt: 'x' })
  scrape = await (await fetch(`${server.url}/metrics`)).text()
  types = new Map([...scrape.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type]))
  await stop()
}, INSTALL_MS)

describe('a live scrape', () => {
  it(
    'leaves promtool nothing to say',
    async () => {
      const { promtool } = await prometheus()
      const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], { input: scrape, encoding: 'utf8' })
      expect(stdout + stderr).toBe('')
      expect(status).toBe(0)
    },
    INSTALL_MS
  )

  it('has every metric that docs/metrics.md describes, of that type, and no other of ours', () => {
    const table = readFileSync(join(packageRoot, 'docs/metrics.md'), 'utf8').matchAll(
      /^\| (`easel_\w+`(?:, `easel_\w+`)*) \| (\w+) \|/gm
    )
    const described = [...table].flatMap(([, names = '', type = '']) =>
      names.split(', ').map((name) => [name.replaceAll('`', ''), type])
    )
    expect(Object.fromEntries([...types].filter(([name]) => name.startsWith('easel_')))).toEqual(
      Object.fromEntries(described)
    )
  })

  it.each(alerts())('has what $alert looks at', ({ expr }) => expectKnown(expr))

  it.each(dashboardQueries('1m'))('has what the dashboard shows as %s', (_, expr) => expectKnown(expr))

  it(
    'has what the autoscalers look at, of the type they say',
    async () => {
      const { queries, metrics } = await autoscaling()
      expect(queries).not.toEqual([])
      for (const query of queries) expectKnown(query)
      expect(metrics).not.toEqual([])
      for (const { name, type } of metrics) expect([name, types.get(name)]).toEqual([name, type])
    },
    INSTALL_MS
  )

  it('has nothing of ours that no panel and no alert shows', () => {
    const shown = new Set(
      [...alerts().map(({ expr }) => expr), ...dashboardQueries('1m').map(([, expr]) => expr)].flatMap(metricsIn)
    )
    expect([...types.keys()].filter((name) => name.startsWith('easel_') && !shown.has(name))).toEqual([])
  })

  it('has not what nobody made up', () => {
    expect(metricsIn('sum(rate(easel_no_such_total{a="b_c"}[5m])) by (some_label)')).toEqual(['easel_no_such_total'])
    expect(types.has('easel_no_such_total')).toBe(false)
  })
})

describe('the dashboard', () => {
  it('has panels of which none covers another', () => {
    const all = panels()
    expect(new Set(all.map(({ id }) => id)).size).toBe(all.length)
    const clashes = all.flatMap(({ gridPos: a, title }, index) =>
      all
        .slice(index + 1)
        .filter(({ gridPos: b }) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h)
        .map((other) => [title, other.title])
    )
    expect(clashes).toEqual([])
  })

  it('says of each panel what it shows', () => {
    expect(
      panels()
        .filter(({ type, description }) => type !== 'row' && !description)
        .map(({ title }) => title)
    ).toEqual([])
  })
})

/** The names in a query are on the scrape. `up` is Prometheus' own, and has no underscore. */
function expectKnown(query: string): void {
  const names = metricsIn(query)
  expect(names.length > 0 || query.includes('up{')).toBe(true)
  expect(names.filter((name) => !types.has(name))).toEqual([])
}
