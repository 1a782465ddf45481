/** Waits for work that cannot be stopped, until it is done or the signal fires. @throws the signal's reason */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop!: () => void
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error)
  })
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  try {
    return await Promise.race([work, stopped])
  } finally {
    signal.removeEventListener('abort', stop)
  }
}
