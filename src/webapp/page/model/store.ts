import type { Picture } from './picture.js'

/** Storage for pictures. */
export interface PictureStore {
  /** All of them, newest first. */
  all(): Promise<Picture[]>
  put(picture: Picture): Promise<void>
  delete(ids: readonly string[]): Promise<void>
}

const STORE = 'pictures'

/** Stores pictures in IndexedDB. @throws DOMException if the browser stores nothing, as in some private windows */
export async function openStore(name = 'easel'): Promise<PictureStore> {
  const open = indexedDB.open(name, 1)
  open.addEventListener('upgradeneeded', () =>
    open.result.createObjectStore(STORE, { keyPath: 'id' }).createIndex('createdAt', 'createdAt')
  )
  const database = await result(open)
  // Close the connection so that a page of another version can upgrade the database.
  database.addEventListener('versionchange', () => database.close())
  const store = (mode: IDBTransactionMode) => database.transaction(STORE, mode).objectStore(STORE)
  return {
    all: async () => ((await result(store('readonly').index('createdAt').getAll())) as Picture[]).toReversed(),
    put: (picture) => finished(store('readwrite'), (pictures) => pictures.put(picture)),
    delete: (ids) => finished(store('readwrite'), (pictures) => ids.forEach((id) => pictures.delete(id)))
  }
}

/** Stores pictures until the page is closed. */
export function memoryStore(): PictureStore {
  const pictures = new Map<string, Picture>()
  return {
    all: async () => [...pictures.values()].sort((a, b) => b.createdAt - a.createdAt),
    put: async (picture) => void pictures.set(picture.id, picture),
    delete: async (ids) => ids.forEach((id) => pictures.delete(id))
  }
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener('success', () => resolve(request.result))
    request.addEventListener('error', () => reject(request.error!))
  })
}

function finished(store: IDBObjectStore, work: (store: IDBObjectStore) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    store.transaction.addEventListener('complete', () => resolve())
    store.transaction.addEventListener('abort', () => reject(store.transaction.error!))
    work(store)
  })
}
