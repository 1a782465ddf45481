import { Storage } from '@google-cloud/storage'
import { unlessAborted } from '../unless-aborted.js'
import type { BucketLocation } from './location.js'
import { CACHE_CONTROL, type ResultStore } from './store.js'

/** Seconds that storing a file may take with all its attempts. */
const RETRY_SECONDS = 45

/**
 * A bucket of Google Cloud Storage. Credentials come from where Google's library looks for them: the Pod's identity, or
 * GOOGLE_APPLICATION_CREDENTIALS. Without a private key among them, Google signs each URL (docs/results.md).
 */
export function openGs({ bucket: bucketName, prefix, endpoint }: BucketLocation): ResultStore {
  const storage = new Storage({
    ...(endpoint === undefined ? {} : { apiEndpoint: endpoint }),
    retryOptions: { autoRetry: true, maxRetries: 3, totalTimeout: RETRY_SECONDS }
  })
  const bucket = storage.bucket(bucketName)
  return {
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
    close: () => undefined
  }
}
