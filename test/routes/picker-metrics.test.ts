import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { generate, type RunningServer, running, startReadyServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'

/**
 * The vLLM column of "Metrics Reporting", and "LoRA Adapter Serving", in the model server protocol.
 *
 * @see https://github.com/kubernetes-sigs/gateway-api-inference-extension/blob/84436a96b9e6ce2b59ddacd3d04c31b4fbd442de/docs/proposals/003-model-server-protocol/README.md
 */
const PROTOCOL = {
  TotalQueuedRequests: 'vllm:num_requests_waiting',
  TotalRunningRequests: 'vllm:num_requests_running',
  KVCacheUtilization: 'vllm:kv_cache_usage_perc',
  loraInfo: 'vllm:lora_requests_info'
}
const LORA_LABELS = ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters']

async function scrape({ url }: RunningServer) {
  const response = await fetch(`${url}/metrics/picker`)
  expect([response.status, response.headers.get('content-type')]).toEqual([
    200,
    'text/plain; version=0.0.4; charset=utf-8'
  ])
  const text = await response.text()
  const lora = new RegExp(`^${PROTOCOL.loraInfo}\\{(.*)\\} (\\S+)$`, 'm').exec(text)
  return {
    types: new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type])),
    value: (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]),
    labels: new Map(
      [...(lora?.[1] ?? '').matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', value = '']) => [label, value])
    ),
    at: Number(lora?.[2])
  }
}

it('has the metrics of the model server protocol, as gauges', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  for (const name of ['ink', 'oil']) writeFileSync(join(folder, `${name}.safetensors`), name)
  const server = await startReadyServer({
    PICKER_METRICS: 'true',
    WORKER_ARGS: `--fake-step-ms 20 --rows 2 --loras ${folder}`
  })
  const idle = await scrape(server)
  expect([...idle.types]).toEqual(Object.values(PROTOCOL).map((name) => [name, 'gauge']))
  for (const name of [PROTOCOL.TotalQueuedRequests, PROTOCOL.TotalRunningRequests, PROTOCOL.KVCacheUtilization])
    expect([name, idle.value(name)]).toEqual([name, 0])
  expect([...idle.labels.keys()].sort()).toEqual([...LORA_LABELS].sort())
  expect(Number(idle.labels.get('max_lora'))).toBeGreaterThan(0)
  expect(Math.abs(idle.at - Date.now() / 1000)).toBeLessThan(3600)

  const leave = new AbortController()
  const ask = (lora: string) =>
    generate(
      server,
      { prompt: 'x', num_inference_steps: 100, loras: [{ name: lora }] },
      { signal: leave.signal }
    ).catch(() => undefined)
  const asked = [ask('ink'), ask('ink')]
  await running(server, 2)
  asked.push(ask('oil'), ask('oil'))
  await until('one waits', async () => (await scrape(server)).value(PROTOCOL.TotalQueuedRequests) > 0)
  const busy = await scrape(server)
  expect(busy.value(PROTOCOL.TotalQueuedRequests) + busy.value(PROTOCOL.TotalRunningRequests)).toBe(4)
  expect(busy.value(PROTOCOL.KVCacheUtilization)).toBe(1)
  expect(busy.labels.get('running_lora_adapters')).toContain('ink')
  expect(busy.labels.get('waiting_lora_adapters')).toBe('oil')
  leave.abort()
  await Promise.all(asked)
})

it('is there only where it is asked for', async () => {
  const server = await startServer({ WORKER_ARGS: '--fake-warm-ms 3600000' })
  expect((await fetch(`${server.url}/metrics/picker`)).status).toBe(404)
})
