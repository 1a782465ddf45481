import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import Fastify from 'fastify'
import { describe, expect, it, onTestFinished } from 'vitest'
import { packageRoot } from '../../src/gateway-options.js'
import { errorsPlugin } from '../../src/plugins/errors.js'
import { pagePlugin } from '../../src/webapp/page-plugin.js'

const built = join(packageRoot, 'dist/page')

describe('the built page', () => {
  it('is served with a strict CSP and no-cache', async () => {
    const app = await serve()
    const page = await app.inject('/')
    expect(page.statusCode).toBe(200)
    expect(page.headers['content-type']).toMatch(/^text\/html/)
    expect(page.headers['cache-control']).toBe('no-cache')
    const policy = String(page.headers['content-security-policy'])
    expect(policy).toContain("default-src 'none'")
    expect(policy).not.toMatch(/unsafe|\*|https?:/)
    expect(page.headers).toMatchObject({
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer'
    })
  })

  it('has immutable assets, each with its content type', async () => {
    const app = await serve()
    const files = readdirSync(join(built, 'assets'))
    expect(files.map((name) => name.replace(/^.*?-[\w-]{8}\./, '')).toSorted()).toEqual(['css', 'js', 'js.map', 'svg'])
    for (const name of files) {
      const file = await app.inject(`/assets/${name}`)
      expect(file.statusCode).toBe(200)
      expect(file.headers['cache-control']).toBe('public, max-age=31536000, immutable')
      expect(file.headers['content-security-policy']).toBeDefined()
    }
  })

  it('contains no inline script or style and no other origin', () => {
    const html = readFileSync(join(built, 'index.html'), 'utf8')
    expect(html.match(/<script(?![^>]*\bsrc=)[^>]*>/g)).toBeNull()
    expect(html.match(/<style|\sstyle=|\son\w+=/g)).toBeNull()
    const names = readdirSync(join(built, 'assets')).filter((name) => /\.(js|css)$/.test(name))
    const addresses = [html, ...names.map((name) => readFileSync(join(built, 'assets', name), 'utf8'))].flatMap(
      (text) => text.match(/https?:\/\/[\w.]+/g) ?? []
    )
    expect(addresses.filter((address) => address !== 'http://www.w3.org')).toEqual([])
  })

  it('serves no other paths', async () => {
    const app = await serve()
    for (const path of [
      '/index.htm',
      '/assets/',
      '/assets/../../package.json',
      '/assets/%2e%2e/%2e%2e/package.json',
      '/page.stamp',
      '/nothing'
    ]) {
      expect((await app.inject(path)).statusCode).toBe(404)
    }
  })

  it('says how to build it if it is not built', async () => {
    const app = await serve('/nowhere')
    const answer = await app.inject('/')
    expect(answer.statusCode).toBe(404)
    expect(answer.json().message).toContain('npm run build')
  })
})

async function serve(root?: string) {
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(errorsPlugin, { onRefused: () => undefined })
  await app.register(pagePlugin, root === undefined ? {} : { root })
  return app
}
