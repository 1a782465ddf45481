// @ts-check
// Undoes an attack's changes to the machine even if the run is interrupted.

/** @type {Set<() => void>} */
const open = new Set()

process.once('exit', () => {
  for (const undo of [...open].toReversed()) {
    try {
      undo()
    } catch {
      // Continue with the others.
    }
  }
})

/**
 * Registers a clean-up that runs at the latest when this process ends, the newest first.
 *
 * @param {() => void} undo
 * @returns {() => void} runs the clean-up now, once
 */
export function atEnd(undo) {
  open.add(undo)
  return () => {
    if (open.delete(undo)) undo()
  }
}
