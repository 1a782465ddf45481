import { FolderStore, type FolderOptions } from './folder.js'
import type { Location } from './location.js'
import type { ResultStore } from './store.js'

/**
 * Opens the store at a location. A bucket's package is loaded only if it is used.
 *
 * @throws Error for a folder in which files cannot be written. A bucket is not contacted.
 */
export async function openStore(location: Location, folder: Omit<FolderOptions, 'folder'>): Promise<ResultStore> {
  switch (location.kind) {
    case 'file':
      return FolderStore.open({ ...folder, folder: location.folder })
    case 's3': {
      const { openS3 } = await import('./s3.js')
      return openS3(location)
    }
    case 'gs': {
      const { openGs } = await import('./gs.js')
      return openGs(location)
    }
  }
}
