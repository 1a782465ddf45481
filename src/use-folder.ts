import { randomUUID } from 'node:crypto'
import { mkdir, open, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { unlessAborted } from './unless-aborted.js'

/** How long a disk may take to answer when the gateway starts, in ms. */
const LIMIT_MS = 10_000

/**
 * Does what a setting's folder must allow before the gateway starts.
 *
 * @throws Error that names the setting, and says what is wrong and what to do
 */
export async function useFolder<T>(setting: string, use: () => Promise<T>, limit = LIMIT_MS): Promise<T> {
  const signal = AbortSignal.timeout(limit)
  try {
    return await unlessAborted(use(), signal)
  } catch (error) {
    const why = signal.aborted ? `it did not answer within ${limit / 1000} s` : (error as Error).message
    throw new Error(
      `${setting}: no files can be written there: ${why}. Give a folder that exists, or that the gateway's user may make and write to`,
      { cause: error }
    )
  }
}

/** Tries to write a file in a folder. @param suffix of its name, should its removal fail */
export async function tryFolder(folder: string, suffix = ''): Promise<void> {
  const trial = join(folder, `${randomUUID()}${suffix}`)
  await (await open(trial, 'wx')).close()
  await unlink(trial)
}

/**
 * Makes a folder, and those above it, unless it exists. Node's own `recursive` never returns where the kernel says ENOENT although
 * the folder above exists, as in /proc.
 */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // Another process may have been quicker.
    if (await isFolder(folder)) return
    const above = dirname(folder)
    if (code !== 'ENOENT' || (await isFolder(above))) throw error
    await makeFolder(above)
    await makeFolder(folder)
  }
}

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}
