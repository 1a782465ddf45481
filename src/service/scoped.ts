/** A map key that keeps equal names of different scopes apart. */
export function scoped(scope: string, name: string): string {
  return JSON.stringify([scope, name])
}
