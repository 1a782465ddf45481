import { Router } from 'zeromq'
import { bindIpcFile, type IpcFile } from './ipc-file.js'

const IPC = 'ipc://'

export interface SocketOptions {
  endpoint: string
  curveSecretKey?: string | undefined
  /** Called for each message, in order; must not throw. */
  onMessage: (peer: string, frames: Uint8Array[]) => void
  /** Called when a message cannot be delivered: the peer is gone or takes nothing any more. */
  onUnreachable: (peer: string) => void
}

/** The gateway's ROUTER: one loop that reads it and one that writes it, as zeromq.js wants. */
export interface RouterSocket {
  /** Queues a message; never waits, never throws. */
  send: (peer: string, frames: readonly Uint8Array[]) => void
  /** Sends what is queued, then unbinds. */
  close: () => Promise<void>
}

/** Binds the socket. @throws Error that names WORKER_ENDPOINT when the address is taken or cannot be bound */
export async function openSocket(options: SocketOptions): Promise<RouterSocket> {
  const router = new Router({
    mandatory: true,
    // A restarted worker comes back under its own name before the old connection is known to be dead.
    handover: true,
    // A peer whose queue is full is not waited for: it is reported as unreachable.
    sendTimeout: 0,
    linger: 500,
    maxMessageSize: 256 * 1024 * 1024,
    // Without it an address in brackets is "No such device"; with it IPv4 is served all the same.
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
    for (let next = outgoing.shift(); next !== undefined; next = outgoing.shift()) {
      const [peer, frames] = next
      try {
        await router.send([peer, ...(frames as Buffer[])])
      } catch {
        options.onUnreachable(peer)
      }
    }
    writing = undefined
  }

  const reading = (async () => {
    for await (const [peer, ...frames] of router) options.onMessage(peer!.toString(), frames)
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
      // The loop ends with the socket; an error on the way out changes nothing any more.
      await reading.catch(() => undefined)
      await file?.release()
    }
  }
}

async function bind(router: Router, endpoint: string): Promise<IpcFile | undefined> {
  if (endpoint.startsWith(IPC))
    return bindIpcFile(endpoint.slice(IPC.length), (path) => router.bindSync(`${IPC}${path}`))
  await router.bind(endpoint).catch((error: Error) => {
    throw new Error(`WORKER_ENDPOINT=${endpoint} cannot be bound: ${error.message}`, { cause: error })
  })
  return undefined
}
