import { createHmac, timingSafeEqual } from 'node:crypto'

/** What a URL of a stored file has in its query. */
export interface Signature {
  /** When the URL ends, in seconds since 1970. */
  readonly expires: number
  /** HMAC-SHA256 in base64url. */
  readonly signature: string
}

/** Signs URLs of stored files, so that nobody can read a file by guessing its name or change when its URL ends. */
export class Signer {
  readonly #secret: string | Buffer

  constructor(secret: string | Buffer) {
    this.#secret = secret
  }

  /** @param expires in seconds since 1970 */
  sign(name: string, expires: number): Signature {
    return { expires, signature: this.#digest(name, expires).toString('base64url') }
  }

  /** Whether this signer, or another one with its secret, made the signature. Does not look at the time. */
  verify(name: string, { expires, signature }: Signature): boolean {
    const own = this.#digest(name, expires)
    const given = Buffer.from(signature, 'base64url')
    return given.length === own.length && timingSafeEqual(given, own)
  }

  #digest(name: string, expires: number): Buffer {
    return createHmac('sha256', this.#secret).update(`${expires}\n${name}`).digest()
  }
}
