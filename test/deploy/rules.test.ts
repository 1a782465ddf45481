import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { prometheus } from '../../tools/deploy-tools.mjs'
import { packageRoot } from '../../src/gateway-options.js'
import { catalogue } from '../../src/errors.js'
import { alertCases, AT_MINUTES } from './alerts.js'
import { INSTALL_MS, named, parseManifests, render, type ScaledObject } from './manifests.js'
import { alerts, type Rules, ruleGroups } from './monitoring.js'

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
function tryAlert(
  alert: string,
  series: Record<string, string>,
  expected: object[]
): { status: number | null; output: string } {
  const test = {
    interval: '1m',
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: [{ eval_time: `${AT_MINUTES}m`, alertname: alert, exp_alerts: expected }]
  }
  writeFileSync(
    join(folder, `${alert}.yaml`),
    stringify({ rule_files: ['short-rules.yaml'], evaluation_interval: '1m', tests: [test] })
  )
  return run('test', 'rules', `${alert}.yaml`)
}

describe('the alerts', () => {
  it('are rules of Prometheus', () => {
    const { status, output } = run('check', 'rules', 'rules.yaml')
    expect(output).toMatch(new RegExp(`${alerts().length} rules found`))
    expect(status).toBe(0)
  })

  it('have each a case below', () => {
    expect(alertCases.map(({ alert }) => alert).sort()).toEqual(
      alerts()
        .map(({ alert }) => alert)
        .sort()
    )
  })

  it.each(alertCases)('$alert fires when it should', ({ alert, labels, summary, fires }) => {
    const { severity } = alerts().find((rule) => rule.alert === alert)?.labels ?? {}
    const { status, output } = tryAlert(alert, fires, [
      { exp_labels: { ...labels, severity }, exp_annotations: { summary } }
    ])
    expect(output).toContain('SUCCESS')
    expect(status).toBe(0)
  })

  it.each(alertCases)('$alert is quiet otherwise', ({ alert, quiet, alsoQuiet = [] }) => {
    for (const series of [quiet, ...alsoQuiet]) {
      const { status, output } = tryAlert(alert, series, [])
      expect(output).toContain('SUCCESS')
      expect(status).toBe(0)
    }
  })

  it('EaselRefusing counts what the server refuses for a reason of its own', () => {
    const { expr = '' } = alerts().find(({ alert }) => alert === 'EaselRefusing') ?? {}
    const counted = [...expr.matchAll(/code=~"([^"]+)"/g)].map(([, codes = '']) => codes.split('|').sort())
    // Of 503, but for the one of images that were made, and the one of 429 that says nothing about the caller.
    const own = Object.entries(catalogue)
      .filter(([code, { status }]) => (status === 503 && code !== 'RESULTS_UNAVAILABLE') || code === 'QUEUE_FULL')
      .map(([code]) => code)
      .sort()
    expect(counted).toEqual([own, own, own])
  })

  it.each(alerts())('$alert says whom it wakes, what is wrong and what to do', ({ alert, labels, annotations }) => {
    expect(['page', 'ticket']).toContain(labels.severity)
    expect(annotations['description']).toBeTruthy()
    const [file = '', anchor] = (annotations['runbook'] ?? '').split('#')
    expect(existsSync(join(packageRoot, file))).toBe(true)
    const headings = readFileSync(join(packageRoot, file), 'utf8')
      .match(/^#+ .*$/gm)
      ?.map((line) => line.replace(/^#+ /, ''))
    expect(headings).toContain(alert)
    expect(anchor).toBe(alert.toLowerCase())
  })
})

describe('EaselAbsent, where KEDA takes all Pods away outside of working hours', () => {
  const DAY = 24 * 60
  // promtool's time begins with a Thursday, at midnight in UTC.
  it.each([
    ['in the night', 3 * 60, false],
    ['at noon', 12 * 60, true],
    ['in the evening', 20 * 60, false],
    ['at noon on Saturday', 2 * DAY + 12 * 60, false],
    ['at noon on Monday', 4 * DAY + 12 * 60, true]
  ])('%s', async (_, minute, fires) => {
    const manifests = parseManifests(await render('gke-keda'))
    const [group] = named<Rules>(manifests, 'Rules', 'easel-absent').spec.groups
    writeFileSync(join(folder, 'keda-rules.yaml'), stringify({ groups: [group] }))
    const expected = fires
      ? [{ exp_labels: { job: 'easel', severity: 'page' }, exp_annotations: group?.rules[0]?.annotations }]
      : []
    const test = {
      interval: '1m',
      input_series: [{ series: 'up{job="other"}', values: '1x8000' }],
      alert_rule_test: [{ eval_time: `${minute}m`, alertname: 'EaselAbsent', exp_alerts: expected }]
    }
    writeFileSync(
      join(folder, 'keda.yaml'),
      stringify({ rule_files: ['keda-rules.yaml'], evaluation_interval: '1m', tests: [test] })
    )
    const { status, output } = run('test', 'rules', 'keda.yaml')
    expect(output).toContain('SUCCESS')
    expect(status).toBe(0)
  })

  it('has the hours in which a Pod is to be there', async () => {
    const manifests = parseManifests(await render('gke-keda'))
    const expr = named<Rules>(manifests, 'Rules', 'easel-absent').spec.groups[0]?.rules[0]?.expr ?? ''
    const [, from, to, first, last] = /hour\(\) >= (\d+) < (\d+)[^]*day_of_week\(\) >= (\d) <= (\d)/.exec(expr) ?? []
    const cron = named<ScaledObject>(manifests, 'ScaledObject', 'easel').spec.triggers.find(
      ({ type }) => type === 'cron'
    )?.metadata
    expect(cron).toMatchObject({
      timezone: 'Etc/UTC',
      start: `0 ${from} * * ${first}-${last}`,
      end: `0 ${to} * * ${first}-${last}`
    })
  })
})
