import { randomInt } from 'node:crypto'
import { EaselError } from '../errors.js'
import type { Jobs } from '../jobs/jobs.js'
import type { GenerateRequest } from '../schemas/generate.js'
import { TRANSIENT } from '../service/idempotency.js'
import type { Caller } from '../service/caller.js'
import type { Run } from '../service/run.js'

/**
 * A request with an Idempotency-Key as all gateways understand it: with the seed of its first use. Where gateways know
 * nothing together, or it has no key, it stays as it is.
 *
 * @throws EaselError IDEMPOTENCY_KEY_REUSED if another gateway has seen the key with another body;
 *   JOB_STORE_UNAVAILABLE while that cannot be known
 */
export async function pinned(
  { store, keyTtl }: Jobs,
  body: GenerateRequest,
  { key }: Caller
): Promise<GenerateRequest> {
  if (key === undefined || store.shared === undefined) return body
  const { fingerprint, scope, key: name } = key
  const seed = body.seed ?? randomInt(2 ** 32)
  const first = await store.shared.pin({ scope, key: name }, { fingerprint, seed }, keyTtl)
  if (first.fingerprint !== fingerprint)
    throw new EaselError('IDEMPOTENCY_KEY_REUSED', undefined, { field: 'idempotency-key' })
  return { ...body, seed: body.seed ?? first.seed }
}

/** Lets a key be used for something else after an end that says nothing about its request, as in one gateway. */
export function unpinAfter({ store }: Jobs, run: Run, { key }: Caller): void {
  if (key === undefined || store.shared === undefined) return
  run.finished.catch((error: unknown) => {
    if (error instanceof EaselError && TRANSIENT.has(error.code)) store.shared?.unpin(key)
  })
}
