// @ts-check

/**
 * The header of a HEARTBEAT from a worker with nothing to do.
 *
 * @param {string} session
 */
export function idleHeartbeat(session) {
  return { session, steps_total: 0, rows_in_use: 0, rows_padded_total: 0, queued: 0, step_ms: [], memory: [] }
}
