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
  readonly places: SharedPlaces
  /** Answers other gateways' questions: `cancel` says whether it had such a request. */
  onCancel: (cancel: (scope: string, id: string) => boolean) => void
}

/** A place among the requests that an access key may have in flight. */
export interface Place {
  readonly scope: string
  /** Tells it from all others of the scope. */
  readonly name: string
}

/** The requests in flight of each access key, at all gateways. A place lasts for a lease unless it is kept. */
export interface SharedPlaces {
  /** ms that a place lasts. */
  readonly lease: number
  /**
   * Takes a place, if there are fewer than `most`.
   *
   * @throws EaselError JOB_STORE_UNAVAILABLE; it may be taken then
   */
  take: (place: Place, most: number) => Promise<boolean>
  /** Whether there are fewer places than `most`. @throws EaselError JOB_STORE_UNAVAILABLE */
  free: (scope: string, most: number) => Promise<boolean>
  /** Begins the leases of places anew, and takes those that are gone. @throws EaselError JOB_STORE_UNAVAILABLE */
  keep: (places: readonly Place[]) => Promise<void>
  /** Gives places back. @throws EaselError JOB_STORE_UNAVAILABLE */
  leave: (places: readonly Place[]) => Promise<void>
}
