/**
 * Polls a condition every few milliseconds until it holds; throws an error with `what` after `timeout` ms, by default just
 * before the test itself would time out without saying why.
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeout = 170_000
): Promise<void> {
  const end = performance.now() + timeout
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`timed out after ${timeout} ms waiting until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
