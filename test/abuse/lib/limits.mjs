// @ts-check
// Easel's limits under attack. docs/security.md states the same numbers.

/** The longest 99th percentile of `/health`, in ms. */
export const HEALTH_MS = 100

/** MEMORY_BUDGET in MiB, if the gateway has that option. */
export const BUDGET_MIB = 256

/** The most memory that a gateway with this budget may use at any time, in MiB. */
export const PEAK_MIB = 640

/** The most memory above a fresh gateway's that may still be in use after an attack, in MiB. */
export const LEFT_MIB = 256

/** SEND_TIMEOUT in seconds, if the gateway has that option. Its default is longer. */
export const SEND_TIMEOUT_S = 3

/** RECEIVE_TIMEOUT of the attacked gateways, in seconds. */
export const RECEIVE_TIMEOUT_S = 5

/** Tolerance of time limits in seconds: Node checks its timeouts periodically, and the machine is shared. */
export const SLACK_S = 5

/** The longest answer to an invalid request and its longest log line, in bytes. */
export const ERROR_BYTES = 2048

/** The longest that a worker may outlive its gateway, in ms. */
export const ORPHAN_MS = 1000

/** The run ends a gateway that uses more memory than this, in MiB, because the machine is shared. */
export const GUARD_MIB = 3072
