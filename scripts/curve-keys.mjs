// @ts-check
// Makes the CURVE keys of a gateway and its workers (docs/deploy-gke.md). Run: node scripts/curve-keys.mjs FOLDER
import { generateKeyPairSync } from 'node:crypto'
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** @see https://rfc.zeromq.org/spec/32/ */
const DIGITS = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#'

/**
 * Makes the keys: the gateway needs `gateway/`, the workers `worker/`. Neither folder has the secret key of the other.
 *
 * @param {string} folder must not exist yet
 */
export function makeKeys(folder) {
  const [gateway, worker] = [keyPair(), keyPair()]
  mkdirSync(folder, { mode: 0o700 })
  const write = (/** @type {string} */ path, /** @type {string} */ text) => {
    writeFileSync(join(folder, path), text, { mode: 0o600, flag: 'wx' })
  }
  mkdirSync(join(folder, 'gateway'))
  mkdirSync(join(folder, 'worker'))
  write('gateway/secret', gateway.secret)
  write('gateway/workers', `${worker.public} every worker of the cluster\n`)
  write('worker/secret', worker.secret)
  write('worker/gateway', gateway.public)
}

/** A key pair of Curve25519, in Z85. */
function keyPair() {
  const { privateKey } = generateKeyPairSync('x25519')
  const { d = '', x = '' } = privateKey.export({ format: 'jwk' })
  return { secret: toZ85(Buffer.from(d, 'base64url')), public: toZ85(Buffer.from(x, 'base64url')) }
}

/** As in src/z85.ts, which needs a build. @param {Buffer} bytes a multiple of four */
function toZ85(bytes) {
  let text = ''
  for (let at = 0; at < bytes.length; at += 4) {
    const value = bytes.readUInt32BE(at)
    for (let power = 85 ** 4; power >= 1; power /= 85) text += DIGITS[Math.floor(value / power) % 85]
  }
  return text
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === import.meta.filename) {
  const [folder, ...rest] = process.argv.slice(2)
  if (folder === undefined || rest.length > 0 || folder.startsWith('-')) {
    process.stderr.write('usage: node scripts/curve-keys.mjs FOLDER    (a new folder for the keys)\n')
    process.exit(2)
  }
  try {
    makeKeys(folder)
  } catch (error) {
    process.stderr.write(`cannot write the keys: ${/** @type {Error} */ (error).message}\n`)
    process.exit(1)
  }
}
