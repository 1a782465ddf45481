import { setImmediate as nextTurn } from 'node:timers/promises'
import { Router } from 'zeromq'
import { bindIpcFile, type IpcFile } from './ipc-file.js'

const IPC = 'ipc://'

/** How long messages are sent or received before other work has a turn, in ms. */
const SLICE_MS = 5

export interface SocketOptions {
  endpoint: string
  curveSecretKey?: string | undefined
  /** Called for each message, in order; must not throw. */
  onMessage: (peer: string, frames: Uint8Array[]) => void
  /** Called when a message cannot be delivered: the peer is gone, or its queue is full. */
  onUnreachable: (peer: string) => void
}

/** The gateway's ROUTER socket. zeromq.js allows one pending receive and one pending send, hence one loop for each. */
export interface RouterSocket {
  /** Queues a message without waiting. Never throws. */
  send: (peer: string, frames: readonly Uint8Array[]) => void
  /** Sends the queued messages, then closes. */
  close: () => Promise<void>
}

/** Binds the socket. @throws Error that names WORKER_ENDPOINT when the address is taken or cannot be bound */
export async function openSocket(options: SocketOptions): Promise<RouterSocket> {
  const router = new Router({
    mandatory: true,
    // A restarted worker may reconnect under its name before the old connection is known to be dead.
    handover: true,
    // Do not wait for a peer whose queue is full: report it as unreachable.
    sendTimeout: 0,
    linger: 500,
    maxMessageSize: 256 * 1024 * 1024,
    // Without it, binding an IPv6 address fails with "No such device". IPv4 still works with it.
    ipv6: options.endpoint.includes('['),
    ...(options.curveSecretKey === undefined ? {} : { curveServer: true, curveSecretKey: options.curveSecretKey })
  })
  let file: IpcFile | undefined
  try {
    file = await bind(router, options.endpoint)
  } catch (error) {
    router.close()
    throw error
  }

  const outgoing: [peer: string, frames: readonly Uint8Array[]][] = []
  let writing: Promise<void> | undefined
  const write = async () => {
    const pause = slices()
    for (let next = outgoing.shift(); next !== undefined; next = outgoing.shift()) {
      const [peer, frames] = next
      try {
        await router.send([peer, ...(frames as Buffer[])])
      } catch {
        options.onUnreachable(peer)
      }
      await pause()
    }
    writing = undefined
  }

  const reading = (async () => {
    const pause = slices()
    for await (const [peer, ...frames] of router) {
      options.onMessage(peer!.toString(), frames)
      await pause()
    }
  })()

  return {
    send(peer, frames) {
      if (router.closed) return
      outgoing.push([peer, frames])
      writing ??= write()
    },
    async close() {
      await writing
      router.close()
      // The loop ends when the socket closes; an error now is irrelevant.
      await reading.catch(() => undefined)
      await file?.release()
    }
  }
}

/**
 * Returns a function to await after each message. zeromq.js takes up to 512 waiting messages in one turn of the event
 * loop: hundreds of images, while no probe is answered.
 */
function slices(): () => Promise<void> | undefined {
  let began = performance.now()
  return () => {
    if (performance.now() - began < SLICE_MS) return undefined
    return nextTurn().then(() => void (began = performance.now()))
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
