import type { FastifyRequest } from 'fastify'

/** What URLs of the gateway's own begin with. @param publicUrl undefined for what the client called it */
export function baseOf({ protocol, host }: FastifyRequest, publicUrl: string | undefined): string {
  return publicUrl ?? `${protocol}://${host}`
}

/** A path of the gateway becomes a URL under `base`. A client that does not say whom it calls gets the path. */
export function absoluteUrl(url: string, base: string): string {
  if (!url.startsWith('/') || !URL.canParse(base)) return url
  const { origin, pathname } = new URL(base)
  return origin + pathname.replace(/\/$/, '') + url
}
