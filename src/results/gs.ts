import { ApiError, IdempotencyStrategy, Storage } from '@google-cloud/storage'
import { unlessAborted } from '../unless-aborted.js'
import { type BucketLocation, identityOf } from './location.js'
import { bytesOf, CACHE_CONTROL, type ResultStore } from './store.js'

/** Seconds that storing a file may take with all its attempts. */
const RETRY_SECONDS = 45

/**
 * A bucket of Google Cloud Storage. Credentials come from where Google's library looks for them: the Pod's identity, or
 * GOOGLE_APPLICATION_CREDENTIALS. Without a private key among them, Google signs each URL (docs/results.md).
 */
export function openGs(location: BucketLocation): ResultStore {
  const { bucket: bucketName, prefix, endpoint } = location
  const storage = new Storage({
    ...(endpoint === undefined ? {} : { apiEndpoint: endpoint }),
    retryOptions: {
      autoRetry: true,
      maxRetries: 3,
      totalTimeout: RETRY_SECONDS,
      // By default, neither storing nor deleting is tried again. Here a name always has the same bytes.
      idempotencyStrategy: IdempotencyStrategy.RetryAlways
    }
  })
  const bucket = storage.bucket(bucketName)
  return {
    identity: identityOf(location),
    async put(name, { bytes, type }, signal) {
      signal.throwIfAborted()
      await unlessAborted(
        bucket.file(prefix + name).save(bytes, {
          // One request is enough for files of a few MB.
          resumable: false,
          validation: 'crc32c',
          contentType: type,
          metadata: { cacheControl: CACHE_CONTROL }
        }),
        signal
      )
    },
    async urlOf(name, seconds) {
      const expires = Date.now() + seconds * 1000
      const [url] = await bucket.file(prefix + name).getSignedUrl({ version: 'v4', action: 'read', expires })
      return url
    },
    async get(name, most, signal) {
      signal.throwIfAborted()
      try {
        return await bytesOf(bucket.file(prefix + name).createReadStream(), most, signal)
      } catch (error) {
        if (error instanceof ApiError && error.code === 404) return undefined
        throw error
      }
    },
    async delete(name, signal) {
      signal.throwIfAborted()
      await unlessAborted(bucket.file(prefix + name).delete({ ignoreNotFound: true }), signal)
    },
    close: () => undefined
  }
}
