import type { JobName, JobState, JobStatus } from '../store.js'

/** In the order of `state` in the scripts. */
export const FIELDS = ['rev', 'st', 'fp', 'about', 'sub', 'dl', 'start', 'end', 'cr', 'prog', 'out', 'till']

export function keyOf({ scope, id }: JobName): string {
  return `${scope}/${id}`
}

/** Scopes have no slash. */
export function nameOf(key: string): JobName {
  const slash = key.indexOf('/')
  return { scope: key.slice(0, slash), id: key.slice(slash + 1) }
}

export function stateOf(fields: readonly (string | null)[]): JobState | undefined {
  const [
    revision,
    status,
    fingerprint,
    about,
    submittedAt,
    deadline,
    startedAt,
    endedAt,
    crashes,
    progress,
    outcome,
    till
  ] = fields
  if (status == null) return undefined
  return {
    revision: Number(revision),
    status: status as JobStatus,
    fingerprint: fingerprint!,
    about: about!,
    submittedAt: Number(submittedAt),
    deadline: Number(deadline),
    startedAt: startedAt == null ? undefined : Number(startedAt),
    endedAt: endedAt == null ? undefined : Number(endedAt),
    keptFrom: endedAt == null ? undefined : Number(till ?? endedAt),
    crashes: Number(crashes),
    progress: progress ?? undefined,
    outcome: outcome ?? undefined
  }
}
