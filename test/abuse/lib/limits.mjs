// @ts-check
// What Easel is held to under attack. docs/security.md states the same numbers.

/** How long `/health` may take at the 99th percentile, in ms, whatever else goes on. */
export const HEALTH_MS = 100

/** Where the gateway knows MEMORY_BUDGET, it is given this much, in MiB. */
export const BUDGET_MIB = 256

/** Most memory that a gateway may have in use at any time with this budget, in MiB. */
export const PEAK_MIB = 640

/** Most memory beyond that of a fresh gateway which may still be in use when an attack is over, in MiB. */
export const LEFT_MIB = 256

/** Seconds that a client may leave its answer unread, where the gateway knows SEND_TIMEOUT. Its default is longer. */
export const SEND_TIMEOUT_S = 3

/** Seconds that a client may take to send its request, as these gateways are set. */
export const RECEIVE_TIMEOUT_S = 5

/** Seconds that a limit of time may be overrun by: Node looks at its clocks now and then, and the machine is shared. */
export const SLACK_S = 5

/** Longest answer to a mistaken request, and longest log line of one, in bytes. */
export const ERROR_BYTES = 2048

/** How long a worker may outlive its gateway, in ms. */
export const ORPHAN_MS = 1000

/** A gateway that takes more memory than this is ended by the run itself, in MiB: the machine is not only ours. */
export const GUARD_MIB = 3072
