export interface CountedTurns {
  /** The number of turns so far. */
  turns: number
  stop: () => void
}

/** Counts turns of the event loop. Start it first, so that its immediate runs before all others of each turn. */
export function countTurns(): CountedTurns {
  const counted = { turns: 0, stop: () => clearImmediate(next) }
  let next: NodeJS.Immediate
  const count = () => {
    counted.turns += 1
    next = setImmediate(count)
  }
  next = setImmediate(count)
  return counted
}
