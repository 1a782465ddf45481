/** The sentences whose condition holds. */
export function found(rules: Record<string, boolean | undefined>): string[] {
  return Object.keys(rules).filter((sentence) => rules[sentence])
}
