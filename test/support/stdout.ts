import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** Standard outputs that cannot be written to, made anew for each test. */
export const BROKEN = {
  'a full disk': () => opened('/dev/full', 'w'),
  'a full pipe that no process reads': () => fullPipe().writer,
  'a pipe whose reader has closed it': () => {
    const path = fifo()
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const writer = opened(path, 'w')
    closeSync(reader)
    return writer
  }
} as const

/** A full pipe. Its writing end blocks, like those of shells and container runtimes. */
export function fullPipe(): { writer: number; reader: number } {
  const path = fifo()
  const reader = opened(path, constants.O_RDWR | constants.O_NONBLOCK)
  const writer = opened(path, 'w')
  try {
    for (;;) writeSync(reader, Buffer.alloc(4096, 'x'))
  } catch {
    return { writer, reader }
  }
}

function fifo(): string {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'stdout')
  execFileSync('mkfifo', [path])
  return path
}

function opened(path: string, flags: string | number): number {
  const file = openSync(path, flags)
  onTestFinished(() => closeSync(file))
  return file
}

/** The port on which a process listens, from the kernel; undefined if none. For a process that cannot print it. */
export function listeningPort(pid: number): number | undefined {
  const sockets = new Set(readdirSync(`/proc/${pid}/fd`).map((fd) => link(`/proc/${pid}/fd/${fd}`)))
  for (const row of readFileSync(`/proc/${pid}/net/tcp`, 'utf8').split('\n').slice(1)) {
    const [, local, , state, , , , , , inode] = row.trim().split(/\s+/)
    if (state === '0A' && sockets.has(`socket:[${inode}]`)) return parseInt(local!.split(':')[1]!, 16)
  }
  return undefined
}

function link(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
