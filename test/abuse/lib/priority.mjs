// @ts-check
import { setPriority } from 'node:os'

/** The nice levels of attackers and of the prober. */
export const PRIORITY = { usual: 0, attacker: 5, prober: -10 }

/**
 * Sets this process's priority. In reality attackers run on other machines and share no processor with the gateway. Does
 * nothing without root, because only root can raise a priority again.
 *
 * @param {number} level
 */
export function giveWay(level) {
  if (process.getuid?.() === 0) setPriority(level)
}
