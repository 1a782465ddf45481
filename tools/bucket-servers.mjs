// @ts-check
import { pythonTools } from './tool-cache.mjs'

/**
 * Installs moto, which has S3's API, and a server with that of Google Cloud Storage.
 *
 * @returns {Promise<string>} the Python that has them
 */
export function bucketServers() {
  return pythonTools(
    'bucket-servers',
    'test/results/requirements.lock',
    'Installing moto and a server of Google Cloud Storage'
  )
}
