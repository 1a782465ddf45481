// @ts-check

/**
 * Returns the header of an idle worker's HEARTBEAT.
 *
 * @param {string} session
 */
export function idleHeartbeat(session) {
  return { session, steps_total: 0, rows_in_use: 0, rows_padded_total: 0, queued: 0, step_ms: [], memory: [] }
}
