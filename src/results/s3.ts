import { DeleteObjectCommand, GetObjectCommand, NoSuchKey, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import type { Readable } from 'node:stream'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import { type BucketLocation, identityOf } from './location.js'
import { bytesOf, CACHE_CONTROL, type ResultStore } from './store.js'

/** ms to connect, and ms without a byte after which an attempt has failed. */
const CONNECT_MS = 5000
const SILENCE_MS = 15_000

/**
 * A bucket of S3, or of a server with its API. Credentials, and the region unless the location has it, come from where AWS'
 * SDK looks for them: the environment, its files, or the Pod's identity.
 */
export function openS3(location: BucketLocation): ResultStore {
  const { bucket, prefix, endpoint, region, pathStyle } = location
  const client = new S3Client({
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    forcePathStyle: pathStyle,
    maxAttempts: 3,
    // Other servers with S3's API do not all know the checksums that AWS' SDK adds by default.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: { connectionTimeout: CONNECT_MS, requestTimeout: SILENCE_MS, throwOnRequestTimeout: true }
  })
  const at = (name: string) => ({ Bucket: bucket, Key: prefix + name })
  return {
    identity: identityOf(location),
    async put(name, { bytes, type }, abortSignal) {
      const object = { ...at(name), Body: bytes, ContentType: type, CacheControl: CACHE_CONTROL }
      await client.send(new PutObjectCommand(object), { abortSignal })
    },
    urlOf: (name, seconds) => getSignedUrl(client, new GetObjectCommand(at(name)), { expiresIn: seconds }),
    async get(name, most, abortSignal) {
      try {
        const { Body } = await client.send(new GetObjectCommand(at(name)), { abortSignal })
        return await bytesOf(Body as Readable, most, abortSignal)
      } catch (error) {
        if (error instanceof NoSuchKey) return undefined
        throw error
      }
    },
    async delete(name, abortSignal) {
      await client.send(new DeleteObjectCommand(at(name)), { abortSignal })
    },
    close: () => client.destroy()
  }
}
