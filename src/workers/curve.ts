import { readFile } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import pLimit from 'p-limit'
import { Context, Router } from 'zeromq'
import { CURVE_KEY, toZ85 } from '../z85.js'
import { ConnectionIds } from './connection-ids.js'
import { mayHaveName, parseWorkerKeys, type WorkerKeys } from './worker-keys.js'

/** Where ZeroMQ asks about the peers of its context. @see https://rfc.zeromq.org/spec/27/ */
const ASKED_AT = 'inproc://zeromq.zap.01'

/** The property by which ZeroMQ names a connection. @see https://rfc.zeromq.org/spec/23/ */
const ROUTING_ID = 'Identity'

/** ZeroMQ asks about the peers of a socket with CURVE only if the socket has a domain. */
const DOMAIN = 'workers'

/**
 * How long an answer waits, in ms. libzmq looks for the answer once before it reads the name that the peer gave itself, and
 * one that is there by then is overruled by it. The worker's HELLO is then dropped until it connects anew.
 *
 * @see https://github.com/zeromq/libzmq/blob/622fc6dde99ee172ebaa9c8628d85a7a1995a21d/src/curve_server.cpp
 */
const ANSWER_AFTER_MS = 20

/** How the gateway proves who it is, and whom it lets in. */
export interface CurveKeys {
  /** The gateway's secret key, in Z85. */
  readonly secretKey: string
  /** File with the public keys of the workers; undefined to let in whoever knows the gateway's public key. */
  readonly workerKeys: string | undefined
}

/** Who is behind a routing id: undefined for one that was not given to a connection. */
export type PeerOf = (id: string) => Peer | undefined

/** The holder of a let-in key, over one connection. */
export interface Peer {
  /** Its public key, in Z85. */
  readonly key: string
  /** Later connections have higher ones. */
  readonly connection: number
  /** Whether the operator lets a worker with this key have this name. */
  readonly mayBe: (worker: string) => boolean
}

/** Options of a ROUTER that lets in workers by their keys. */
export interface CurveDoor {
  readonly options: { context: Context; curveServer: true; curveSecretKey: string; zapDomain: string }
  /** Who is behind a connection; undefined where peers say themselves who they are. */
  readonly peerOf: PeerOf | undefined
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
 * Answers ZeroMQ's question for each new connection: is this key a worker's? The file is read again each time, so keys
 * come and go without a restart. While the file cannot be used, the keys that it had last stay valid.
 *
 * zeromq.js does not tell whose key a message came with. So the answer also names the connection, by an id that says it;
 * libzmq takes that instead of the name that the peer gave itself.
 *
 * @see https://github.com/zeromq/libzmq/blob/622fc6dde99ee172ebaa9c8628d85a7a1995a21d/src/mechanism.cpp#L240
 * @param onError called when the file cannot be used
 */
export async function openDoor(keys: CurveKeys, onError: (error: Error) => void): Promise<CurveDoor> {
  // A context of its own: ZeroMQ asks one handler for all sockets of a context.
  const context = new Context()
  const options = { context, curveServer: true, curveSecretKey: keys.secretKey, zapDomain: DOMAIN } as const
  if (keys.workerKeys === undefined) return { options, peerOf: undefined, close: () => undefined }
  const file = keys.workerKeys
  let known = await readWorkerKeys(file)
  const ids = new ConnectionIds()
  const handler = new Router({ context, linger: 0 })
  await handler.bind(ASKED_AT)
  // zeromq.js allows one pending send.
  const inTurn = pLimit(1)
  const answering = (async () => {
    for await (const frames of handler) {
      known = await readWorkerKeys(file).catch((error: Error) => {
        onError(error)
        return known
      })
      const answer = answerTo(frames, known, ids)
      if (answer === undefined) continue
      void setTimeout(ANSWER_AFTER_MS)
        .then(() => inTurn(() => handler.send(answer)))
        // What cannot be sent is of a gateway that closes.
        .catch(() => undefined)
    }
  })()
  // The loop ends when the socket closes; an error then is irrelevant.
  answering.catch(() => undefined)
  const peerOf = (id: string): Peer | undefined => {
    const connection = ids.read(id)
    if (connection === undefined) return undefined
    const key = toZ85(connection.key)
    return { key, connection: connection.number, mayBe: (worker) => mayHaveName(known, key, worker) }
  }
  return { options, peerOf, close: () => handler.close() }
}

/** ZAP 1.0: version, request id, status, its text, user id, metadata. */
function answerTo(frames: readonly Buffer[], known: WorkerKeys, ids: ConnectionIds): (string | Buffer)[] | undefined {
  const start = frames.findIndex(({ length }) => length === 0) + 1
  const [version, id, , , , mechanism, key] = frames.slice(start)
  if (version === undefined || id === undefined) return undefined
  const right = mechanism?.toString() === 'CURVE' && key !== undefined && known.has(toZ85(key))
  const answer = right
    ? ['200', 'OK', '', property(ROUTING_ID, ids.give(key))]
    : ['400', 'not a key of CURVE_WORKER_KEYS', '', '']
  return [...frames.slice(0, start), version, id, ...answer]
}

/** Metadata of one property, as ZeroMQ writes it. */
function property(name: string, value: string): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(Buffer.byteLength(value))
  return Buffer.concat([Buffer.from([name.length]), Buffer.from(name), length, Buffer.from(value)])
}

async function readWorkerKeys(path: string): Promise<WorkerKeys> {
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
