import type { FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** The methods that a path (without its query) supports; empty for an unknown path. */
    methodsOf: (path: string) => readonly string[]
  }
}

/** Catch-all routes, e.g. for CORS preflights. They do not make a path known. */
const EVERYTHING: ReadonlySet<string> = new Set(['*', '/*'])

/**
 * Records the methods of every route added from now on. (Fastify's `findRoute` looks up route patterns, not paths.)
 *
 * Supports `:name` and `*` in routes, but no regular expressions. A path written with percent-escapes counts as
 * unknown.
 */
export function noteMethods(app: FastifyInstance): void {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    if (EVERYTHING.has(url)) return
    const route = known.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    known.set(url, route)
    for (const name of [method].flat()) route.methods.add(name)
  })
  app.decorate('methodsOf', (path) => {
    const bare = path.length > 1 ? path.replace(/\/$/, '') : path
    const methods = [...known.values()]
      .filter(({ pattern }) => pattern.test(bare))
      .flatMap(({ methods }) => [...methods])
    return [...new Set(methods)].toSorted()
  })
}

function patternOf(url: string): RegExp {
  const parts = url
    .split(/(:\w+|\*)/)
    .map((part) =>
      part.startsWith(':') ? '[^/]+' : part === '*' ? '.*' : part.replaceAll(/[\\^$.+?()[\]{}|]/g, String.raw`\$&`)
    )
  return new RegExp(`^${parts.join('')}$`)
}
