import { Gauge, Registry } from 'prom-client'
import type { ImageService } from './service/service.js'
import type { WorkerPool } from './workers/worker-pool.js'

/**
 * Metrics in the names that endpoint pickers read: those of vLLM in the model server protocol of the Gateway API
 * inference extension, which are the defaults of its scorers and of llm-d's. What the protocol asks for and images do
 * not have stands for what is nearest.
 *
 * @see https://github.com/kubernetes-sigs/gateway-api-inference-extension/blob/84436a96b9e6ce2b59ddacd3d04c31b4fbd442de/docs/proposals/003-model-server-protocol/README.md
 */
export function createPickerMetrics({ pool, service }: { pool: WorkerPool; service: ImageService }): Registry {
  const registry = new Registry()
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read())
      }
    })
  const held = () => service.models.reduce((sum, model) => sum + service.heldFor(model), 0)
  gauge('vllm:num_requests_waiting', 'Requests that wait for a worker.', () => pool.state.queued + held())
  gauge('vllm:num_requests_running', 'Requests that a worker has.', () =>
    Math.max(0, service.ledger.inFlight - pool.state.queued)
  )
  gauge('vllm:kv_cache_usage_perc', 'Rows in use of all rows, from 0 to 1; images have no KV cache.', () =>
    shareOfRows(pool)
  )
  const loras = new Gauge({
    name: 'vllm:lora_requests_info',
    help: 'LoRAs of requests, by whether a worker has the request; the value is the time.',
    labelNames: ['max_lora', 'running_lora_adapters', 'waiting_lora_adapters'],
    registers: [],
    collect() {
      this.reset()
      const all = service.models.map(({ served }) => served.adapters)
      const named = (lists: readonly (readonly string[])[]) => [...new Set(lists.flat())].sort().join(',')
      this.set(
        {
          max_lora: pool.state.workers.reduce((sum, { hello }) => sum + (hello.limits.max_loras ?? 0), 0),
          running_lora_adapters: named(all.map(({ running }) => running)),
          waiting_lora_adapters: named(all.map(({ waiting }) => waiting))
        },
        Date.now() / 1000
      )
    }
  })
  registry.registerMetric(loras)
  return registry
}

/** Without workers all of nothing is in use: a picker prefers any other server. */
function shareOfRows(pool: WorkerPool): number {
  const { workers } = pool.state
  const rows = workers.reduce((sum, { hello }) => sum + hello.rows, 0)
  const used = workers.reduce((sum, { heartbeat }) => sum + (heartbeat?.rows_in_use ?? 0), 0)
  // Each size has rows of its own, so more may be in use than one size has.
  return rows === 0 ? 1 : Math.min(1, used / rows)
}
