import { spawnSync } from 'node:child_process'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest'
import { freshSocketPath, isFreshSocketName } from '../../src/socket-path.js'
import { type GatewayProcess, readyAddress, startProcess, type Surroundings } from '../support/process.js'

const NOBODY = 65_534

let folder: string
let path: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  path = join(folder, 'worker.sock')
  return () => rmSync(folder, { recursive: true })
})

function start(file: string, surroundings: Surroundings = {}, env: NodeJS.ProcessEnv = {}): GatewayProcess {
  const fake = { ENGINE: 'fake', WORKER_ARGS: '--sizes 64x64 --fake-step-ms 1', HEARTBEAT_INTERVAL: '0.1' }
  return startProcess(
    'dist/main.js',
    [],
    { ...fake, WORKER_ENDPOINT: file === '' ? '' : `ipc://${file}`, ...env },
    surroundings
  )
}

async function expectRefusal(gateway: GatewayProcess, file: string, why: RegExp): Promise<void> {
  expect(await gateway.exit).toEqual({ code: 1, signal: null })
  expect(gateway.output()).toMatch(/^easel: cannot start: [^\n]+\n$/)
  expect(gateway.output()).toContain(`WORKER_ENDPOINT=ipc://${file}: `)
  expect(gateway.output()).toMatch(why)
}

async function generate(address: string): Promise<number> {
  const response = await fetch(`${address}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', num_inference_steps: 2 })
  })
  await response.arrayBuffer()
  return response.status
}

async function killed(gateway: GatewayProcess): Promise<void> {
  await readyAddress(gateway)
  gateway.child.kill('SIGKILL')
  await gateway.exit
}

describe('an existing path', () => {
  it('keeps a regular file and names it in the error', async () => {
    writeFileSync(path, 'precious')
    await expectRefusal(start(path), path, /worker\.sock exists and is not a socket/)
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })

  it('keeps a folder and a symbolic link', async () => {
    mkdirSync(join(path, 'in'), { recursive: true })
    const link = join(folder, 'link')
    symlinkSync(path, link)
    await expectRefusal(start(path), path, /is not a socket/)
    await expectRefusal(start(link), link, /is not a socket/)
    expect(existsSync(join(link, 'in'))).toBe(true)
  })

  it('is not taken from a live gateway, even through an alias or after the file is deleted', async () => {
    const first = start(path)
    const address = await readyAddress(first)
    const alias = join(folder, 'alias')
    symlinkSync(folder, alias)
    await expectRefusal(start(path), path, /another gateway uses this socket/)
    await expectRefusal(
      start(join(alias, 'worker.sock')),
      join(alias, 'worker.sock'),
      /another gateway uses this socket/
    )
    unlinkSync(path)
    await expectRefusal(start(path), path, /another gateway uses this socket/)
    expect(await generate(address)).toBe(200)
  })

  it('is not taken from a program that listens there without our lock', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(path, resolve))
    onTestFinished(() => void server.close())
    await expectRefusal(start(path), path, /another gateway uses this socket/)
    expect(server.listening && lstatSync(path).isSocket()).toBe(true)
  })

  it('is taken over from a killed gateway', async () => {
    await killed(start(path))
    const { ino } = lstatSync(path)
    const next = start(path)
    expect(await generate(await readyAddress(next))).toBe(200)
    expect(lstatSync(path).ino).not.toBe(ino)
    next.child.kill('SIGTERM')
    expect((await next.exit).code).toBe(0)
    expect(readdirSync(folder)).toEqual([])
  })

  it('goes to exactly one of several gateways that start at once', async () => {
    await killed(start(path))
    const gateways = [start(path), start(path), start(path)]
    const ready = await Promise.all(
      gateways.map((gateway) =>
        Promise.race([readyAddress(gateway).catch(() => undefined), gateway.exit.then(() => undefined)])
      )
    )
    const winners = ready.filter((address) => address !== undefined)
    expect(winners).toHaveLength(1)
    expect(await generate(winners[0]!)).toBe(200)
  })
})

it('a closing gateway does not remove a file that replaced its socket', async () => {
  const gateway = start(path)
  await readyAddress(gateway)
  renameSync(path, `${path}.moved`)
  writeFileSync(path, 'precious')
  gateway.child.kill('SIGTERM')
  expect((await gateway.exit).code).toBe(0)
  expect(readFileSync(path, 'utf8')).toBe('precious')
})

describe('a bound socket', () => {
  it('allows only its own user, whatever the umask', async () => {
    const gateway = start(path, { first: 'umask 000' })
    expect(await generate(await readyAddress(gateway))).toBe(200)
    expect(lstatSync(path).mode & 0o777).toBe(0o600)
    expect(readdirSync(folder)).toEqual(['worker.sock'])
    expect(asNobody(gateway, path)).toBe('EACCES')
  })

  it('allows its own user even if the umask would not', async () => {
    const gateway = start(path, { first: 'umask 777' })
    expect(await generate(await readyAddress(gateway))).toBe(200)
    expect(lstatSync(path).mode & 0o777).toBe(0o600)
  })
})

/** The result of another user's attempt to connect. Only root can try it; otherwise derives it from the mode. */
function asNobody({ child }: GatewayProcess, socket: string): string {
  if (process.getuid!() !== 0)
    return (lstatSync(socket).mode & 0o022) === 0 && child.exitCode === null ? 'EACCES' : 'connected'
  // Open the folder: it is closed to others, which would hide the effect of the file's mode.
  spawnSync('chmod', ['755', folder])
  const script = `require('net').connect(process.argv[1]).on('connect', () => { console.log('connected'); process.exit() }).on('error', (error) => console.log(error.code))`
  return spawnSync(process.execPath, ['-e', script, socket], {
    uid: NOBODY,
    gid: NOBODY,
    cwd: '/',
    encoding: 'utf8'
  }).stdout.trim()
}

describe('a path', () => {
  it('is refused if the folder is missing, and the error names it', async () => {
    const file = join(folder, 'no/such/worker.sock')
    await expectRefusal(start(file), file, /the folder .*\/no\/such cannot be used: ENOENT/)
  })

  it('is refused if it is too long, and the error gives its length in bytes', async () => {
    const file = join(folder, 'ü'.repeat(60))
    await expectRefusal(
      start(file),
      file,
      new RegExp(`the path has ${Buffer.byteLength(file)} bytes, and a socket's path may have at most \\d+`)
    )
  })

  it('works if it has exactly the maximum length', async () => {
    const file = join(folder, 'x'.repeat(107 - Buffer.byteLength(folder) - 1))
    expect(await generate(await readyAddress(start(file)))).toBe(200)
  })
})

describe('the default path', () => {
  it('is random, and only names of its form are recognized', () => {
    const paths = new Set(Array.from({ length: 100 }, () => freshSocketPath(folder)))
    expect(paths.size).toBe(100)
    for (const each of paths) expect(isFreshSocketName(each.slice(folder.length + 1))).toBe(true)
    expect(
      [
        'easel-1.sock',
        'easel-test-000000000000.sock',
        'easel-000000000000.sock.bak',
        'x-easel-000000000000.sock'
      ].filter(isFreshSocketName)
    ).toEqual([])
  })

  it('removes stale sockets of killed gateways and nothing else', async () => {
    const env = { TMPDIR: folder }
    await killed(start('', {}, env))
    const [left] = readdirSync(folder).filter(isFreshSocketName) as [string]
    utimesSync(join(folder, left), 0, 0)
    const living = start('', {}, env)
    const address = await readyAddress(living)
    const [used, ...rest] = readdirSync(folder).filter(isFreshSocketName) as [string]
    expect(rest).toEqual([])
    expect(used).not.toBe(left)
    utimesSync(join(folder, used), 0, 0)
    // Not a socket; not a default name; and too young, because a gateway may be about to listen on it.
    const file = freshSocketPath(folder)
    writeFileSync(file, 'precious')
    utimesSync(file, 0, 0)
    const [other, young] = [join(folder, 'mine.sock'), freshSocketPath(folder)]
    await leave(other)
    utimesSync(other, 0, 0)
    await leave(young)
    await readyAddress(start('', {}, env))
    for (const kept of [join(folder, used), file, other, young]) expect(existsSync(kept), kept).toBe(true)
    expect(await generate(address)).toBe(200)
  })
})

/** Leaves a socket that nobody listens on, as a killed process does. */
async function leave(socket: string): Promise<void> {
  spawnSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`,
    socket
  ])
  expect(lstatSync(socket).isSocket()).toBe(true)
}
