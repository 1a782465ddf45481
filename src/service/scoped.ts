/** One text for a caller's name of something, so that what callers of different scopes name alike stays apart. */
export function scoped(scope: string, name: string): string {
  return JSON.stringify([scope, name])
}
