/** A page of a list, as OpenAI's clients read it. */
export function listOf<T extends { readonly id: string }>(data: T[], more: boolean) {
  return {
    object: 'list' as const,
    data,
    first_id: data[0]?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
    has_more: more
  }
}

/** @param ms since 1970 */
export function secondsOf(ms: number): number {
  return Math.floor(ms / 1000)
}
