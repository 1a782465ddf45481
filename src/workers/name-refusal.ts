import type { Peer } from './curve.js'

/** Why a worker may not have its name: what it is told, and what the operator is. */
export interface NameRefusal {
  readonly told: string
  readonly logged: string
}

/**
 * Undefined if the holder of a key may have the name.
 *
 * @param owner the key of the connected worker that has the name
 */
export function nameRefusal(name: string, { key, mayBe }: Peer, owner: string | undefined): NameRefusal | undefined {
  const shown = JSON.stringify(name.slice(0, 64))
  if (!mayBe(name))
    return {
      told: `CURVE_WORKER_KEYS does not let this worker's CURVE key have the name ${shown}: choose another --name, or add it there`,
      logged: `refused a worker with the name ${shown}, which CURVE_WORKER_KEYS does not let its CURVE key ${key} have: add name=${name} after the key, or start the worker with another --name`
    }
  if (owner === undefined || owner === key) return undefined
  return {
    told: `a connected worker with another CURVE key has the name ${shown}: choose another --name, or wait until that one is gone`,
    logged: `refused a worker with the name ${shown} of a connected one, and with the CURVE key ${key} instead of ${owner}: if it is that worker with a new key, it is let in once the old one is gone; if not, one of both keys is in wrong hands: remove it from CURVE_WORKER_KEYS, and write name=${name} after the right one`
  }
}
