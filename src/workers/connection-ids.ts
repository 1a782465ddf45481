import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** What a routing id says of its connection. */
export interface Connection {
  /** The peer's public key. */
  readonly key: Buffer
  /** Later connections have higher ones. */
  readonly number: number
}

const ID = /^(\d+)\.([\w-]+)\.([\w-]+)$/
const MAC_BYTES = 16

/**
 * Routing ids that say whose connection it is. Nobody else can make one, so what comes under such an id comes from the holder
 * of its key, however many connections there are: nothing has to be remembered of them.
 */
export class ConnectionIds {
  readonly #secret = randomBytes(32)
  #last = 0

  give(key: Buffer): string {
    this.#last += 1
    const text = `${this.#last}.${key.toString('base64url')}`
    return `${text}.${this.#macOf(text).toString('base64url')}`
  }

  /** Undefined for an id that this did not give. */
  read(id: string): Connection | undefined {
    const [, number, key, given] = ID.exec(id) ?? []
    if (number === undefined || key === undefined || given === undefined) return undefined
    const mac = Buffer.from(given, 'base64url')
    if (mac.length !== MAC_BYTES || !timingSafeEqual(mac, this.#macOf(`${number}.${key}`))) return undefined
    return { number: Number(number), key: Buffer.from(key, 'base64url') }
  }

  #macOf(text: string): Buffer {
    return createHmac('sha256', this.#secret).update(text).digest().subarray(0, MAC_BYTES)
  }
}
