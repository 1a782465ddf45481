import { spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeAll } from 'vitest'
import { bucketServers } from '../../tools/bucket-servers.mjs'
import { until } from '../support/wait.js'

/** Credentials that any server for tests takes, as the environment has them. */
const AWS = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_REGION: 'us-east-1' }

/** Starts a server of a bucket named `images` for all tests of the file, with credentials for it in the environment. */
export function shareBucket(kind: 's3' | 'gs', assign: (location: string) => void): void {
  beforeAll(async () => {
    const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
    const { url, stop } = await startServer(
      kind === 's3' ? ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'] : [join(import.meta.dirname, 'gcs_server.py')]
    )
    const before = { ...process.env }
    if (kind === 's3') {
      Object.assign(process.env, AWS)
      const { CreateBucketCommand, S3Client } = await import('@aws-sdk/client-s3')
      const client = new S3Client({ endpoint: url, forcePathStyle: true })
      await client.send(new CreateBucketCommand({ Bucket: 'images' }))
      client.destroy()
      assign(`s3://images/easel?endpoint=${url}&path_style=true`)
    } else {
      process.env['GOOGLE_APPLICATION_CREDENTIALS'] = serviceAccount(folder)
      assign(`gs://images/easel?endpoint=${url}`)
    }
    return async () => {
      process.env = before
      rmSync(folder, { recursive: true })
      await stop()
    }
  })
}

/** Writes a service account with a key of its own, which signs URLs. */
function serviceAccount(folder: string): string {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const path = join(folder, 'account.json')
  const account = {
    type: 'service_account',
    project_id: 'test',
    client_email: 'test@test.iam.gserviceaccount.com',
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' })
  }
  writeFileSync(path, JSON.stringify(account))
  return path
}

/** Starts a server that prints its address as Flask does. */
async function startServer(args: readonly string[]): Promise<{ url: string; stop: () => Promise<void> }> {
  const child = spawn(await bucketServers(), args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const url = () => /Running on (http:\/\/[\d.:]+)/.exec(output)?.[1]
  await until('the bucket server listens', () => {
    if (child.exitCode !== null) throw new Error(`the bucket server ended:\n${output}`)
    return url() !== undefined
  })
  return {
    url: url()!,
    async stop() {
      child.kill('SIGKILL')
      await exit
    }
  }
}
