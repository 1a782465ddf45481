import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A key, and a certificate for `localhost` that only who has its file trusts. */
export async function certificate(): Promise<{ key: Buffer; cert: Buffer; file: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-tls-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const [key, file] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  const made = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${key} -out ${file} -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost`
  execFileSync('openssl', made.split(' '), { stdio: 'ignore' })
  return { key: await readFile(key), cert: await readFile(file), file }
}
