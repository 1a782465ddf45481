import type { Health } from '../api/types.js'

/** The names of the models that requests can choose, the default first; empty if the server has one without a name. */
export function modelNames({ models }: Pick<Health, 'models'>): string[] {
  return models.flatMap(({ name }) => name ?? [])
}

/** The server's health as it is for one of its models; the default model's if it does not have this one. */
export function healthOf(health: Health, model: string | undefined): Health {
  if (health.models.length < 2) return health
  const { workers, ...offered } = health.models.find(({ name }) => name === model) ?? health.models[0]!
  // Only the server as a whole has a number of expected workers.
  return { ...health, ...offered, workers: { ...health.workers, expected: workers.ready, ready: workers.ready } }
}
