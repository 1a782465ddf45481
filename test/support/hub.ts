import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

interface HubModel {
  /** org/name */
  repository: string
  /** 40 hexadecimal digits */
  commit: string
  /** Contents by path. */
  files: Record<string, string>
}

/** Starts a hub with one model and the Hugging Face hub's endpoints that we use. @returns its address, for HF_ENDPOINT */
export async function startHub({
  repository,
  commit,
  files
}: HubModel): Promise<{ url: string; stop: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://hub')
    if (pathname.startsWith(`/api/models/${repository}/revision/`))
      return void response.end(JSON.stringify({ id: repository, sha: commit }))
    if (pathname === `/api/models/${repository}/tree/${commit}`)
      return void response.end(JSON.stringify(Object.entries(files).map(entry)))
    const content = files[pathname.replace(`/${repository}/resolve/${commit}/`, '')]
    if (content === undefined) response.statusCode = 404
    response.end(content)
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      })
  }
}

function entry([path, content]: [string, string]) {
  const size = Buffer.byteLength(content)
  return { type: 'file', path, size, oid: createHash('sha1').update(`blob ${size}\0${content}`).digest('hex') }
}
