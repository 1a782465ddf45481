/** The Idempotency-Key of a request that is made at once, and what all gateways say under it. */
export interface Pinned {
  readonly fingerprint: string
  readonly seed: number
}

/** A key of one caller. */
export interface PinName {
  readonly scope: string
  readonly key: string
}

/** What the gateways of one job store know together besides jobs. */
export interface SharedState {
  /**
   * Counts one more event of a window that begins with the first.
   *
   * @returns how many there were in it, and ms until it ends
   * @throws EaselError JOB_STORE_UNAVAILABLE
   */
  count: (name: string, window: number) => Promise<{ current: number; ttl: number }>
  /**
   * What a key was first used for, at any gateway: this, if it was not used before.
   *
   * @param ttl ms for which it is remembered
   * @throws EaselError JOB_STORE_UNAVAILABLE
   */
  pin: (name: PinName, pinned: Pinned, ttl: number) => Promise<Pinned>
  /** Forgets a key, so that it may be used for something else. Never throws. */
  unpin: (name: PinName) => void
  /** Asks the other gateways to cancel a caller's requests of this name. False if none has one, or the store is away. */
  cancelElsewhere: (scope: string, id: string) => Promise<boolean>
  /** Answers other gateways' questions: `cancel` says whether it had such a request. */
  onCancel: (cancel: (scope: string, id: string) => boolean) => void
}
