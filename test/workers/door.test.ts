import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { curveKeyPair } from 'zeromq'
import { makeKeys } from '../../scripts/curve-keys.mjs'
import { mayHaveName, parseWorkerKeys } from '../../src/workers/worker-keys.js'
import { ConnectionIds } from '../../src/workers/connection-ids.js'
import { toZ85 } from '../../src/z85.js'
import { freePort } from '../../tools/ports.mjs'
import { generate, metric, type RunningServer, startServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { startWorker } from '../support/worker.js'

/** Connections of strangers, at once. */
const STRANGERS = 200

/** The first 64 bytes of a ZeroMQ peer without keys. @see https://rfc.zeromq.org/spec/23/ */
const GREETING = Buffer.concat([Buffer.from('ff00000000000000007f0300', 'hex'), Buffer.from('NULL'.padEnd(52, '\0'))])

it('strangers on the worker port cost a connection each, and no worker its place', { timeout: 120_000 }, async () => {
  const folder = join(mkdtempSync(join(tmpdir(), 'easel-test-')), 'keys')
  makeKeys(folder)
  const port = await freePort()
  const address = `tcp://127.0.0.1:${port}`
  const server = await startServer({
    WORKER: 'connect',
    WORKER_ENDPOINT: address,
    CURVE_SECRET_KEY: `@${join(folder, 'gateway/secret')}`,
    CURVE_WORKER_KEYS: join(folder, 'gateway/workers')
  })
  const silent = await Promise.all(Array.from({ length: STRANGERS }, () => stranger(port)))
  const talking = await Promise.all(Array.from({ length: STRANGERS }, () => stranger(port, GREETING)))
  startWorker(address, 'worker', {
    EASEL_CURVE_SERVER_KEY: `@${join(folder, 'worker/gateway')}`,
    EASEL_CURVE_SECRET_KEY: `@${join(folder, 'worker/secret')}`
  })
  await server.pool.firstReady
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  // Each ends: those that talk at once, those that are silent when their time is over.
  await Promise.all([...silent, ...talking].map((socket) => socket.closed || once(socket, 'close')))
  await until('each is counted', async () => (await refused(server)) >= 2 * STRANGERS)
  expect(server.logs.filter(({ msg }) => msg.includes('on the worker socket'))).toHaveLength(2)
  expect(await metric(server, 'easel_malformed_messages_total')).toBe(0)
})

it('reads the public keys of a file, one a line', () => {
  const [one, other] = [curveKeyPair().publicKey, curveKeyPair().publicKey]
  expect([...parseWorkerKeys(`# ours\n${one} the first\n\n  ${other}\r\n#\n`).keys()]).toEqual([one, other])
  // "#" is a digit of Z85.
  expect([...parseWorkerKeys(`#${one.slice(1)}`).keys()]).toEqual([`#${one.slice(1)}`])
  expect(() => parseWorkerKeys('')).toThrow('has no key')
  expect(() => parseWorkerKeys(`${one}\n#ours`)).toThrow('line 2 must begin with a public key')
})

it('reads the names that the workers of a key may have', () => {
  const [free, bound] = [curveKeyPair().publicKey, curveKeyPair().publicKey]
  const keys = parseWorkerKeys(`${free} any name\n${bound} of the name=tpu-* and of name=spare\n`)
  const may = (key: string) =>
    ['tpu-', 'tpu-0', 'spare', 'spares', 'tp', 'name='].filter((name) => mayHaveName(keys, key, name))
  expect(may(bound)).toEqual(['tpu-', 'tpu-0', 'spare'])
  expect(may(free)).toHaveLength(6)
  expect(may(curveKeyPair().publicKey)).toEqual([])
  // Lines of one key add up.
  const twice = (...lines: string[]) => parseWorkerKeys(lines.map((line) => `${bound} ${line}`).join('\n')).get(bound)
  expect(twice('name=a', 'name=b')).toEqual(expect.arrayContaining(['a', 'b']))
  expect([twice('name=a', ''), twice('', 'name=a')]).toEqual([[], []])
  for (const wrong of ['name=', 'name=*', 'name=a*b', 'name=**'])
    expect(() => parseWorkerKeys(`${bound} ${wrong}`)).toThrow('line 1: name= must be followed by')
})

it('names connections so that nobody can make up a name', () => {
  const ids = new ConnectionIds()
  const byteArray = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(byteArray, fc.nat(), fc.string({ minLength: 1, maxLength: 1 }), (bytes, at, other) => {
      const key = Buffer.from(bytes)
      const [first, second] = [ids.give(key), ids.give(key)]
      expect(ids.read(first)).toEqual({ key, number: ids.read(second)!.number - 1 })
      const place = at % first.length
      const forged = first.slice(0, place) + other + first.slice(place + 1)
      // The last digit of base64 has bits that mean nothing.
      if (ids.read(forged) !== undefined) expect(ids.read(forged)).toEqual(ids.read(first))
      expect(new ConnectionIds().read(first)).toBeUndefined()
      expect(Buffer.byteLength(first)).toBeLessThan(256)
    })
  )
  for (const id of ['', 'worker-0', '1.', '1.AA.AA', '\0abcd']) expect(ids.read(id)).toBeUndefined()
})

it('writes bytes as ZeroMQ does', () => {
  // The example of https://rfc.zeromq.org/spec/32/.
  expect(toZ85(Buffer.from('864fd26fb559f75b', 'hex'))).toBe('HelloWorld')
  expect(toZ85(Buffer.from('ffffffff00000000', 'hex'))).toBe('%nSc000000')
})

const refused = (server: RunningServer) => metric(server, 'easel_worker_peers_refused_total')

/** Connects, and sends something if there is something. */
async function stranger(port: number, bytes?: Buffer): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined)
  socket.resume()
  await once(socket, 'connect')
  if (bytes !== undefined) socket.write(bytes)
  return socket
}
