import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { packageRoot } from '../../src/gateway-options.js'
import {
  type Autoscaler,
  type Manifest,
  ofKind,
  overlays,
  parseManifests,
  render,
  type ScaledObject
} from './manifests.js'

const folder = join(packageRoot, 'k8s/components/monitoring')

export interface Rule {
  alert: string
  expr: string
  for: string
  labels: { severity: string }
  annotations: Record<string, string>
}

interface RuleGroup {
  name: string
  rules: Rule[]
}

/** The object that Managed Prometheus reads rules from. */
export interface Rules extends Manifest {
  spec: { groups: RuleGroup[] }
}

/** The groups of rules, as a file of Prometheus' own has them. */
export function ruleGroups(): RuleGroup[] {
  return ['rules.yaml', 'absent.yaml'].flatMap(
    (file) => (parse(readFileSync(join(folder, file), 'utf8')) as Rules).spec.groups
  )
}

export function alerts(): Rule[] {
  return ruleGroups().flatMap(({ rules }) => rules)
}

export interface Panel {
  id: number
  title: string
  type: string
  description?: string
  gridPos: { x: number; y: number; w: number; h: number }
  targets?: { refId: string; expr: string; legendFormat: string }[]
}

export function panels(): Panel[] {
  return (JSON.parse(readFileSync(join(folder, 'dashboard.json'), 'utf8')) as { panels: Panel[] }).panels
}

/** Every query of the dashboard, by `panel: legend`, with Grafana's variables filled in. */
export function dashboardQueries(window: string): [string, string][] {
  return panels().flatMap(({ title, targets = [] }) =>
    targets.map(({ expr, legendFormat }): [string, string] => [
      `${title}: ${legendFormat}`,
      expr.replaceAll(/\$(namespace|pod)\b/g, '.*').replaceAll('$__rate_interval', window)
    ])
  )
}

/** What the autoscalers look at: queries for KEDA, names for the adapter. */
export async function autoscaling(): Promise<{ queries: string[]; metrics: { name: string; type: string }[] }> {
  const manifests = (await Promise.all(overlays.map(render))).flatMap(parseManifests)
  const queries = ofKind<ScaledObject>(manifests, 'ScaledObject').flatMap(({ spec }) =>
    spec.triggers.flatMap(({ metadata }) => metadata.query ?? [])
  )
  const names = ofKind<Autoscaler>(manifests, 'HorizontalPodAutoscaler').flatMap(({ spec }) =>
    (spec.metrics ?? []).map(({ pods }) => pods.metric.name)
  )
  const metrics = names.map((name) => {
    const [, metric = '', type = ''] = /^prometheus\.googleapis\.com\|(\w+)\|(\w+)$/.exec(name) ?? []
    return { name: metric, type }
  })
  return { queries, metrics }
}

/** The metrics that a query names; what is only a function or a label of PromQL is none. */
export function metricsIn(query: string): string[] {
  const bare = query
    .replaceAll(/"[^"]*"/g, '')
    .replaceAll(/\b(by|on|without)\s*\([^)]*\)/g, '')
    .replaceAll(/\{[^}]*\}/g, '')
  return [...new Set(bare.match(/\b[a-z]\w*_\w+\b/g) ?? [])]
    .filter((name) => name !== 'histogram_quantile')
    .map((name) => name.replace(/_(bucket|sum|count)$/, ''))
}
