import { setTimeout as sleep } from 'node:timers/promises'
import { Router } from 'zeromq'
import { bindIpcFile, type IpcFile } from './ipc-file.js'
import { type CurveKeys, openDoor, type PeerOf } from './curve.js'
import type { RefusedConnection } from './events.js'
import { Slices } from './slices.js'

const IPC = 'ipc://'

/** Waits needed to read everything already received: first libzmq's I/O thread must run, then the event loop. */
const WAITS = 5
const WAIT_MS = 20
/** Most waits while messages keep coming: 5 s. */
const MOST_WAITS = 250

export interface SocketOptions {
  endpoint: string
  /** Undefined for a socket without encryption. */
  curve?: CurveKeys | undefined
  /** Called for each message, in order; must not throw. */
  onMessage: (peer: string, frames: Uint8Array[]) => void
  /** Called when a message cannot be delivered: the peer is gone, or its queue is full. */
  onUnreachable: (peer: string) => void
  /** Called when a connection ends before it is one of a worker. */
  onRefused?: ((peer: RefusedConnection) => void) | undefined
  /** Called when the file of the workers' keys cannot be read again. */
  onKeyError?: ((error: Error) => void) | undefined
}

/** The gateway's ROUTER socket. zeromq.js allows one pending receive and one pending send, hence one loop for each. */
export interface RouterSocket {
  /** Who is behind a peer; undefined where peers say themselves who they are. */
  readonly peerOf: PeerOf | undefined
  /** Queues a message without waiting. Never throws. */
  send: (peer: string, frames: readonly Uint8Array[]) => void
  /** Resolves when everything received before the call has been read, even if the process stalls meanwhile. */
  received: () => Promise<void>
  /** Sends the queued messages, then closes. */
  close: () => Promise<void>
}

/** How long a peer may take to say who it is, in ms. Until then it costs a descriptor and 5 kB. */
const HANDSHAKE_MS = 10_000

/** Ends a TCP connection to a peer that has been unreachable for two minutes. */
const KEEP_ALIVE = { tcpKeepalive: 1, tcpKeepaliveIdle: 60, tcpKeepaliveInterval: 20, tcpKeepaliveCount: 3 }

/** Binds the socket. @throws Error that names WORKER_ENDPOINT when the address is taken or cannot be bound */
export async function openSocket(options: SocketOptions): Promise<RouterSocket> {
  const door = options.curve && (await openDoor(options.curve, (error) => options.onKeyError?.(error)))
  const router = new Router({
    mandatory: true,
    // A restarted worker may reconnect under its name before the old connection is known to be dead. Where connections have
    // ids of their own, none has that of another.
    handover: door?.peerOf === undefined,
    // Do not wait for a peer whose queue is full: report it as unreachable.
    sendTimeout: 0,
    linger: 500,
    maxMessageSize: 256 * 1024 * 1024,
    // Without it, binding an IPv6 address fails with "No such device". IPv4 still works with it.
    ipv6: options.endpoint.includes('['),
    handshakeInterval: HANDSHAKE_MS,
    // A connection over which nothing can be sent any more would stay for ever: nobody takes its place.
    ...(door?.peerOf === undefined ? {} : KEEP_ALIVE),
    ...door?.options
  })
  const refused = (why: RefusedConnection) => () => options.onRefused?.(why)
  router.events.on('handshake:error:auth', refused('key'))
  router.events.on('handshake:error:protocol', refused('protocol'))
  router.events.on('handshake:error:other', refused('handshake'))
  let file: IpcFile | undefined
  try {
    file = await bind(router, options.endpoint)
  } catch (error) {
    router.close()
    door?.close()
    throw error
  }

  const outgoing: [peer: string, frames: readonly Uint8Array[]][] = []
  let writing: Promise<void> | undefined
  const write = async () => {
    const slices = new Slices()
    for (let next = outgoing.shift(); next !== undefined; next = outgoing.shift()) {
      const [peer, frames] = next
      try {
        await router.send([peer, ...(frames as Buffer[])])
      } catch {
        options.onUnreachable(peer)
      }
      await slices.pause()
    }
    writing = undefined
  }

  const incoming = new Slices()
  const reading = (async () => {
    for await (const [peer, ...frames] of router) {
      options.onMessage(peer!.toString(), frames)
      await incoming.pause()
    }
  })()

  return {
    peerOf: door?.peerOf,
    send(peer, frames) {
      if (router.closed) return
      outgoing.push([peer, frames])
      writing ??= write()
    },
    async received() {
      for (let wait = 0; wait < WAITS || (wait < MOST_WAITS && incoming.pausedWithin(WAIT_MS)); wait++)
        await sleep(WAIT_MS, undefined, { ref: false })
    },
    async close() {
      await writing
      router.close()
      // The loop ends when the socket closes; an error now is irrelevant.
      await reading.catch(() => undefined)
      door?.close()
      await file?.release()
    }
  }
}

async function bind(router: Router, endpoint: string): Promise<IpcFile | undefined> {
  if (endpoint.startsWith(IPC))
    return bindIpcFile(endpoint.slice(IPC.length), (path) => router.bindSync(`${IPC}${path}`))
  await router.bind(endpoint).catch((error: Error) => {
    throw new Error(`cannot bind WORKER_ENDPOINT=${endpoint}: ${error.message}`, { cause: error })
  })
  return undefined
}
