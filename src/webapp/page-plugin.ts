import { existsSync } from 'node:fs'
import { join, sep } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { FastifyPluginAsync } from 'fastify'
import { packageRoot } from '../gateway-options.js'
import { EaselError } from '../errors.js'

/** Output of `npm run build`. */
const builtPage = join(packageRoot, 'dist/page')

/**
 * Allows only the page's own files and server: no inline scripts or styles, no other origins, no framing, no evaluation
 * of strings as code.
 */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'"
].join('; ')

const HEADERS: Readonly<Record<string, string>> = {
  'content-security-policy': CONTENT_SECURITY_POLICY,
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY'
}

const YEAR_SECONDS = 31_536_000

/** GET / and the files of the built page. */
export const pagePlugin: FastifyPluginAsync<{ root?: string }> = async (app, { root = builtPage }) => {
  if (!existsSync(join(root, 'index.html'))) {
    app.get('/', async () => {
      throw new EaselError('NOT_FOUND', 'The web page is not built: run `npm run build`')
    })
    return
  }
  const assets = `${join(root, 'assets')}${sep}`
  await app.register(fastifyStatic, {
    root,
    // Register one route for each file, so that other paths get the usual 404.
    wildcard: false,
    cacheControl: false,
    setHeaders(reply, path) {
      reply.headers(HEADERS)
      // Names under assets/ contain a content hash.
      reply.header('cache-control', path.startsWith(assets) ? `public, max-age=${YEAR_SECONDS}, immutable` : 'no-cache')
    }
  })
}
