// @ts-check
// What an attack leaves on the machine is undone also when the run is broken off.

/** @type {Set<() => void>} */
const open = new Set()

process.once('exit', () => {
  for (const undo of [...open].toReversed()) {
    try {
      undo()
    } catch {
      // The rest is to be undone all the same.
    }
  }
})

/**
 * Notes what is to be undone at the end of this process at the latest, the newest first.
 *
 * @param {() => void} undo
 * @returns {() => void} undoes it now, once
 */
export function atEnd(undo) {
  open.add(undo)
  return () => {
    if (open.delete(undo)) undo()
  }
}
