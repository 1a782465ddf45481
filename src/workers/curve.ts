import { readFile } from 'node:fs/promises'
import { Context, Router } from 'zeromq'
import { CURVE_KEY, toZ85 } from '../z85.js'

/** Where ZeroMQ asks about the peers of its context. @see https://rfc.zeromq.org/spec/27/ */
const ASKED_AT = 'inproc://zeromq.zap.01'

/** ZeroMQ asks about the peers of a socket with CURVE only if the socket has a domain. */
const DOMAIN = 'workers'

/** How the gateway proves who it is, and whom it lets in. */
export interface CurveKeys {
  /** The gateway's secret key, in Z85. */
  readonly secretKey: string
  /** File with the public keys of the workers; undefined to let in whoever knows the gateway's public key. */
  readonly workerKeys: string | undefined
}

/** Options of a ROUTER that lets in workers by their keys. */
export interface CurveDoor {
  readonly options: { context: Context; curveServer: true; curveSecretKey: string; zapDomain: string }
  /** Call it after the ROUTER is closed. */
  readonly close: () => void
}

/**
 * Reads the keys that the options name. Undefined without a secret key.
 *
 * @param secretKey the key in Z85, or @FILE
 * @param workerKeys path of a file; see `parseWorkerKeys`
 * @throws Error that names the option
 */
export async function readCurveKeys(
  secretKey: string | undefined,
  workerKeys: string | undefined
): Promise<CurveKeys | undefined> {
  if (secretKey === undefined) return undefined
  const key = await keyIn(secretKey).catch((error: Error) => {
    throw new Error(`CURVE_SECRET_KEY: ${error.message}`, { cause: error })
  })
  if (workerKeys !== undefined)
    await readWorkerKeys(workerKeys).catch((error: Error) => {
      throw new Error(`CURVE_WORKER_KEYS=${workerKeys}: ${error.message}`, { cause: error })
    })
  return { secretKey: key, workerKeys }
}

/**
 * The public keys in the text of a file: one a line, in Z85. What follows a key on its line, and lines that begin with
 * "# ", are for people.
 *
 * @throws Error that names the line
 */
export function parseWorkerKeys(text: string): ReadonlySet<string> {
  const keys = new Set<string>()
  for (const [index, line] of text.split('\n').entries()) {
    const [key = ''] = line.trim().split(/\s+/)
    // A key may itself contain or begin with a "#".
    if (key === '' || key === '#') continue
    if (!CURVE_KEY.test(key))
      throw new Error(`line ${index + 1} must begin with a public key of 40 characters (Z85), or with "# "`)
    keys.add(key)
  }
  if (keys.size === 0) throw new Error('has no key; put the public key of each worker on a line of its own')
  return keys
}

/**
 * Answers ZeroMQ's question for each new connection: is this key a worker's? The file is read again each time, so keys
 * come and go without a restart. While the file cannot be used, the keys that it had last stay valid.
 *
 * @param onError called when the file cannot be used
 */
export async function openDoor(keys: CurveKeys, onError: (error: Error) => void): Promise<CurveDoor> {
  // A context of its own: ZeroMQ asks one handler for all sockets of a context.
  const context = new Context()
  const options = { context, curveServer: true, curveSecretKey: keys.secretKey, zapDomain: DOMAIN } as const
  if (keys.workerKeys === undefined) return { options, close: () => undefined }
  const file = keys.workerKeys
  let known = await readWorkerKeys(file)
  const handler = new Router({ context, linger: 0 })
  await handler.bind(ASKED_AT)
  const answering = (async () => {
    for await (const frames of handler) {
      known = await readWorkerKeys(file).catch((error: Error) => {
        onError(error)
        return known
      })
      const answer = answerTo(frames, known)
      if (answer !== undefined) await handler.send(answer)
    }
  })()
  // The loop ends when the socket closes; an error then is irrelevant.
  answering.catch(() => undefined)
  return { options, close: () => handler.close() }
}

/** ZAP 1.0: version, request id, status, its text, user id, metadata. */
function answerTo(frames: readonly Buffer[], known: ReadonlySet<string>): (string | Buffer)[] | undefined {
  const start = frames.findIndex(({ length }) => length === 0) + 1
  const [version, id, , , , mechanism, key] = frames.slice(start)
  if (version === undefined || id === undefined) return undefined
  const right = mechanism?.toString() === 'CURVE' && key !== undefined && known.has(toZ85(key))
  const status = right ? ['200', 'OK'] : ['400', 'not a key of CURVE_WORKER_KEYS']
  return [...frames.slice(0, start), version, id, ...status, '', '']
}

async function readWorkerKeys(path: string): Promise<ReadonlySet<string>> {
  return parseWorkerKeys(await readFile(path, 'utf8'))
}

/** A key, or that in the file that "@" names. A key may itself begin with "@". */
async function keyIn(given: string): Promise<string> {
  if (CURVE_KEY.test(given)) return given
  const path = given.slice(1)
  const key = (await readFile(path, 'utf8')).trim()
  if (!CURVE_KEY.test(key)) throw new Error(`${path} must contain a key of 40 characters (Z85)`)
  return key
}
