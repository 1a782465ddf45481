import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { type RunningServer, shareServer } from '../support/server.js'
import { startWeb } from '../support/web.js'
import { useBrowser } from './support/visitor.js'

let server: RunningServer
shareServer((ready) => (server = ready))
const visit = useBrowser()

/** A proxy that strips the prefix /easel. */
async function behindPrefix(target: string): Promise<string> {
  const proxy = createServer((incoming, outgoing) => {
    const url = new URL(target)
    const forward = request(
      {
        host: url.hostname,
        port: url.port,
        path: incoming.url!.replace(/^\/easel/, ''),
        method: incoming.method,
        headers: incoming.headers
      },
      (answer) => {
        outgoing.writeHead(answer.statusCode!, answer.headers)
        answer.pipe(outgoing)
      }
    )
    incoming.pipe(forward)
  })
  proxy.listen(0, '127.0.0.1')
  await new Promise((resolve) => proxy.once('listening', resolve))
  onTestFinished(() => {
    proxy.closeAllConnections()
    proxy.close()
  })
  return `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/easel`
}

const WAYS = [
  ['directly', async (url: string) => url],
  ['behind a proxy that strips a prefix', behindPrefix]
] as const

it.each(WAYS)('the page links to /docs, %s', async (_where, through) => {
  const { page } = await visit(`${await through(server.url)}/`)
  await page.locator('#documents').click()
  await page.locator('#operations-images-generate').waitFor()
})

it("the page's own process has no /docs and no link to it", async () => {
  const web = await startWeb(server.url)
  const { page } = await visit(`${web.url}/`)
  await page.locator('#service[data-state=ready]').waitFor()
  expect(await page.locator('#documents').isVisible()).toBe(false)
})

it.each(WAYS)('/docs makes an image with Execute, %s, without browser errors', async (_where, through) => {
  const url = await through(server.url)
  // Any browser error fails the test at its end.
  const { page } = await visit(`${url}/docs`)
  await page.locator('#operations-images-generate .opblock-summary-control').click()
  await page.locator('#operations-images-generate .execute').click()
  const status = page.locator('#operations-images-generate .live-responses-table tbody .response-col_status').first()
  await status.waitFor()
  expect(await status.textContent()).toContain('200')
})
