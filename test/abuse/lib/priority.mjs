// @ts-check
import { setPriority } from 'node:os'

/** How much an attacker gives way, and a prober gets. */
export const PRIORITY = { usual: 0, attacker: 5, prober: -10 }

/**
 * Says who has the processor first on a machine that holds them all: attackers are elsewhere in reality, and the gateway
 * does not share its processor with them. Only root can take back what it has given, so nobody else gives any.
 *
 * @param {number} level
 */
export function giveWay(level) {
  if (process.getuid?.() === 0) setPriority(level)
}
