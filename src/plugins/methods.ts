import type { FastifyInstance } from 'fastify'

declare module 'fastify' {
  interface FastifyInstance {
    /** The methods that a path (without its query) is there for; empty for an unknown path. */
    methodsOf: (path: string) => readonly string[]
  }
}

/** What only a route for everything has, such as the answer to any preflight: it makes no path a known one. */
const EVERYTHING: ReadonlySet<string> = new Set(['*', '/*'])

/**
 * Notes the methods of all routes that are added from now on. (Fastify's own `findRoute` finds patterns, not paths.)
 *
 * Understands `:name` and `*` in a route, and no expressions. A path that is written with escapes counts as unknown.
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
