/** Waits until a condition holds, looking again every few milliseconds; fails with `what` after `timeout` ms. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  timeout = 60_000
): Promise<void> {
  const end = performance.now() + timeout
  while (!(await condition())) {
    if (performance.now() > end) throw new Error(`waited ${timeout} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
