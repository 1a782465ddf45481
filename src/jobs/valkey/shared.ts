import { randomUUID } from 'node:crypto'
import { scoped } from '../../service/scoped.js'
import type { Pinned, PinName, Place, SharedPlaces, SharedState } from '../shared.js'
import type { ValkeyConnection } from './connection.js'

/** Messages by which gateways ask and answer each other. */
export const ASK_CHANNEL = 'easel:{jobs}:cancel'
export const ANSWER_CHANNEL = 'easel:{jobs}:cancelled'

/** ms in which a gateway that has a request answers. */
const ANSWER_MS = 1000

interface Question {
  readonly scope: string
  readonly id: string
  readonly token: string
}

/** What gateways know together, in a Valkey server. */
export class ValkeyShared implements SharedState {
  readonly places: SharedPlaces
  readonly #connection: ValkeyConnection
  readonly #waiting = new Map<string, () => void>()
  #cancel: (scope: string, id: string) => boolean = () => false

  /** @param lease ms that a place lasts */
  constructor(connection: ValkeyConnection, lease: number) {
    this.#connection = connection
    const ask = async (what: 'take' | 'free', ...rest: (string | number)[]) =>
      (await connection.script('easelPlaces', what, lease, ...rest)) === 1
    const tell = async (what: 'keep' | 'leave', places: readonly Place[]) => {
      const named = places.flatMap(({ scope, name }) => [scope, name])
      if (places.length > 0) await connection.script('easelPlaces', what, lease, ...named)
    }
    this.places = {
      lease,
      take: ({ scope, name }, most) => ask('take', scope, name, most),
      free: (scope, most) => ask('free', scope, most),
      keep: (places) => tell('keep', places),
      leave: (places) => tell('leave', places)
    }
  }

  async count(name: string, window: number): Promise<{ current: number; ttl: number }> {
    const [current, ttl] = (await this.#connection.script('easelCount', name, window)) as [number, number]
    return { current, ttl }
  }

  async pin({ scope, key }: PinName, { fingerprint, seed }: Pinned, ttl: number): Promise<Pinned> {
    const [first, value] = (await this.#connection.script('easelPin', scoped(scope, key), fingerprint, seed, ttl)) as [
      string,
      string
    ]
    return { fingerprint: first, seed: Number(value) }
  }

  unpin({ scope, key }: PinName): void {
    this.#connection.drop(`key:${scoped(scope, key)}`).catch(() => undefined)
  }

  async cancelElsewhere(scope: string, id: string): Promise<boolean> {
    const question: Question = { scope, id, token: randomUUID() }
    let timer: NodeJS.Timeout | undefined
    try {
      return await new Promise<boolean>((resolve) => {
        timer = setTimeout(() => resolve(false), ANSWER_MS)
        this.#waiting.set(question.token, () => resolve(true))
        this.#connection.publish(ASK_CHANNEL, JSON.stringify(question)).catch(() => resolve(false))
      })
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(question.token)
    }
  }

  onCancel(cancel: (scope: string, id: string) => boolean): void {
    this.#cancel = cancel
  }

  /** A message of one of the channels. */
  read(channel: string, message: string): void {
    if (channel === ANSWER_CHANNEL) this.#waiting.get(message)?.()
    else if (channel === ASK_CHANNEL) {
      const { scope, id, token } = JSON.parse(message) as Question
      // Its own question: it has looked already.
      if (this.#waiting.has(token) || !this.#cancel(scope, id)) return
      this.#connection.publish(ANSWER_CHANNEL, token).catch(() => undefined)
    }
  }
}
