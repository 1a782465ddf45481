import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { prometheus } from '../../tools/deploy-tools.mjs'
import { until } from '../support/wait.js'
import { ruleGroups } from './monitoring.js'

/** A sample of an answer: its labels and its value. */
export interface Sample {
  metric: Record<string, string>
  value: number
}

export interface RunningPrometheus {
  query: (expr: string) => Promise<Sample[]>
  /** What a query answers, once it is finite numbers: a scrape that came late leaves a hole. */
  data: (expr: string) => Promise<Sample[]>
  /** The rules as it evaluates them. */
  rules: () => Promise<{ name: string; state: string; health: string }[]>
  stop: () => Promise<void>
}

/** Starts Prometheus with our alerts, on a free port; it scrapes a gateway as if it were the Pod easel-0. */
export async function startPrometheus(url: string): Promise<RunningPrometheus> {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  const target = { targets: [new URL(url).host], labels: { cluster: 'easel', namespace: 'easel', pod: 'easel-0' } }
  writeFileSync(
    join(folder, 'rules.yaml'),
    stringify({ groups: ruleGroups().map((group) => ({ ...group, interval: '500ms' })) })
  )
  writeFileSync(
    join(folder, 'prometheus.yaml'),
    stringify({
      global: { scrape_interval: '500ms', scrape_timeout: '500ms', evaluation_interval: '500ms' },
      rule_files: ['rules.yaml'],
      scrape_configs: [{ job_name: 'easel', static_configs: [target] }]
    })
  )
  const { prometheus: program } = await prometheus()
  const args = [
    '--config.file',
    'prometheus.yaml',
    '--storage.tsdb.path',
    'data',
    '--web.listen-address',
    '127.0.0.1:0',
    '--log.format',
    'json'
  ]
  const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr.on('data', (chunk) => (log += chunk))
  const exit = new Promise((resolve) => child.once('exit', resolve))
  const listening = () => log.split('\n').find((line) => line.includes('"Listening on"'))
  await until('Prometheus listens', () => {
    if (child.exitCode !== null) throw new Error(`Prometheus ended:\n${log}`)
    return listening() !== undefined
  })
  const api = `http://${(JSON.parse(listening() ?? '{}') as { address: string }).address}/api/v1`

  async function ask<T>(path: string): Promise<T> {
    const answer = (await (await fetch(`${api}/${path}`)).json()) as { status: string; data: T; error?: string }
    if (answer.status !== 'success') throw new Error(`${path}: ${answer.error}`)
    return answer.data
  }
  async function query(expr: string): Promise<Sample[]> {
    const { result } = await ask<{ result: { metric: Record<string, string>; value: [number, string] }[] }>(
      `query?query=${encodeURIComponent(expr)}`
    )
    return result.map(({ metric, value: [, value] }) => ({ metric, value: Number(value) }))
  }
  return {
    query,
    async data(expr) {
      let samples: Sample[] = []
      await until(`Prometheus has data for ${expr}`, async () => {
        samples = await query(expr)
        return samples.length > 0 && samples.every(({ value }) => Number.isFinite(value))
      })
      return samples
    },
    async rules() {
      const { groups } = await ask<{ groups: { rules: { name: string; state: string; health: string }[] }[] }>('rules')
      return groups.flatMap(({ rules }) => rules)
    },
    async stop() {
      child.kill('SIGTERM')
      await exit
      rmSync(folder, { recursive: true })
    }
  }
}
