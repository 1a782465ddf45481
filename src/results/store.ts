/** A finished image's file. */
export interface ResultFile {
  readonly bytes: Buffer
  /** Its media type. */
  readonly type: string
}

/**
 * Keeps files under names such as `tenant/job/0.png`, and gives URLs to read them.
 *
 * Storing a name again replaces its file, which callers do only with the same bytes.
 */
export interface ResultStore {
  /**
   * Stores a file, whole or not at all.
   *
   * @param signal fires when the caller no longer waits
   * @throws Error when the store cannot take it; EaselError STORAGE_FULL when there is no room
   */
  put: (name: string, file: ResultFile, signal: AbortSignal) => Promise<void>
  /**
   * A URL that reads the file without other credentials, for `seconds`. A store that this gateway serves gives a path.
   *
   * @throws Error when it cannot be signed
   */
  urlOf: (name: string, seconds: number) => Promise<string>
  close: () => void
}

/** What caches may do with a file: its name always has the same bytes, and only the holder of the URL may read it. */
export const CACHE_CONTROL = 'private, max-age=86400, immutable'
