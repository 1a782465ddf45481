import { CLASS_WEIGHTS, type Share } from './fair-queue.js'
import type { Generate } from './protocol.js'

/** Two shares of one name are one tenant: a key in one class. */
export function tenantName({ key, priority }: Share): string {
  return `${priority} ${key}`
}

/** The numbers by which workers tell tenants apart. They say nothing about a key. */
export class Tenants {
  readonly #ids = new Map<string, number>()

  /** What GENERATE says of a job's tenant: nothing for interactive jobs of a server without access keys. */
  of(share: Share): Pick<Generate, 'tenant'> {
    const { key, weight, priority } = share
    if (key === '' && priority === 'interactive') return {}
    const name = tenantName(share)
    // 0 stands for jobs without a tenant.
    const id = this.#ids.get(name) ?? this.#ids.size + 1
    this.#ids.set(name, id)
    return { tenant: { id, weight: (weight * CLASS_WEIGHTS[priority]) / CLASS_WEIGHTS.interactive } }
  }
}
