/** A moment as the web UI writes it: YYYYMMDDhhmmss, in UTC. */
export function stampOf(moment: Date): string {
  return moment.toISOString().replaceAll(/\D/g, '').slice(0, 14)
}
