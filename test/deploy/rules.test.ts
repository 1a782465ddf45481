import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { prometheus } from '../../scripts/lib/deploy-tools.mjs'
import { packageRoot } from '../../src/config.js'
import { alertCases, AT_MINUTES } from './alerts.js'
import { INSTALL_MS } from './manifests.js'
import { alerts, ruleGroups } from './monitoring.js'

let folder: string
let promtool: string

beforeAll(async () => {
  ;({ promtool } = await prometheus())
  folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  // Prometheus knows an alert by its labels and annotations: of the latter the summary is enough to compare.
  const groups = ruleGroups().map((group) => ({
    ...group,
    rules: group.rules.map((rule) => ({ ...rule, annotations: { summary: rule.annotations['summary'] } }))
  }))
  writeFileSync(join(folder, 'rules.yaml'), stringify({ groups: ruleGroups() }))
  writeFileSync(join(folder, 'short-rules.yaml'), stringify({ groups }))
}, INSTALL_MS)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function run(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(promtool, args, { cwd: folder, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

/** Whether an alert fires on some series, by promtool. */
function tryAlert(alert: string, series: Record<string, string>, expected: object[]): { status: number | null; output: string } {
  const test = {
    interval: '1m',
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [{ eval_time: `${AT_MINUTES}m`, alertname: alert, exp_alerts: expected }]
  }
  writeFileSync(join(folder, `${alert}.yaml`), stringify({ rule_files: ['short-rules.yaml'], evaluation_interval: '1m', tests: [test] }))
  return run('test', 'rules', `${alert}.yaml`)
}

describe('the alerts', () => {
  it('are rules of Prometheus', () => {
    const { status, output } = run('check', 'rules', 'rules.yaml')
    expect(output).toMatch(new RegExp(`${alerts().length} rules found`))
    expect(status).toBe(0)
  })

  it('have each a case below', () => {
    expect(alertCases.map(({ alert }) => alert).sort()).toEqual(alerts().map(({ alert }) => alert).sort())
  })

  it.each(alertCases)('$alert fires when it should', ({ alert, labels, summary, fires }) => {
    const { severity } = alerts().find((rule) => rule.alert === alert)?.labels ?? {}
    const { status, output } = tryAlert(alert, fires, [{ exp_labels: { ...labels, severity }, exp_annotations: { summary } }])
    expect(output).toContain('SUCCESS')
    expect(status).toBe(0)
  })

  it.each(alertCases)('$alert is quiet otherwise', ({ alert, quiet }) => {
    const { status, output } = tryAlert(alert, quiet, [])
    expect(output).toContain('SUCCESS')
    expect(status).toBe(0)
  })

  it.each(alerts())('$alert says whom it wakes, what is wrong and what to do', ({ alert, labels, annotations }) => {
    expect(['page', 'ticket']).toContain(labels.severity)
    expect(annotations['description']).toBeTruthy()
    const [file = '', anchor] = (annotations['runbook'] ?? '').split('#')
    expect(existsSync(join(packageRoot, file))).toBe(true)
    const headings = readFileSync(join(packageRoot, file), 'utf8').match(/^#+ .*$/gm)?.map((line) => line.replace(/^#+ /, ''))
    expect(headings).toContain(alert)
    expect(anchor).toBe(alert.toLowerCase())
  })
})
