import { CURVE_KEY } from '../z85.js'

/** The public keys of workers, and the names that each may have: any if there are none, else these, where `*` ends a beginning. */
export type WorkerKeys = ReadonlyMap<string, readonly string[]>

const NAME = 'name='

/**
 * The public keys in the text of a file: one a line, in Z85. `name=NAME` after a key says which name its workers may have,
 * `name=BEGINNING*` which beginning; what else follows, and lines that begin with "# ", are for people.
 *
 * @throws Error that names the line
 */
export function parseWorkerKeys(text: string): WorkerKeys {
  const keys = new Map<string, readonly string[]>()
  for (const [index, line] of text.split('\n').entries()) {
    const [key = '', ...words] = line.trim().split(/\s+/)
    // A key may itself contain or begin with a "#".
    if (key === '' || key === '#') continue
    if (!CURVE_KEY.test(key))
      throw new Error(`line ${index + 1} must begin with a public key of 40 characters (Z85), or with "# "`)
    const names = words.filter((word) => word.startsWith(NAME)).map((word) => word.slice(NAME.length))
    if (names.some((name) => !/^[^*]*[^*]$|^[^*]+\*$/.test(name)))
      throw new Error(`line ${index + 1}: name= must be followed by a worker's name, or by its beginning and "*"`)
    const before = keys.get(key) ?? names
    // A key that one of its lines lets have any name has any.
    keys.set(key, before.length === 0 || names.length === 0 ? [] : [...before, ...names])
  }
  if (keys.size === 0) throw new Error('has no key; put the public key of each worker on a line of its own')
  return keys
}

/** Whether a worker with this key may have this name. */
export function mayHaveName(keys: WorkerKeys, key: string, name: string): boolean {
  const names = keys.get(key)
  if (names === undefined) return false
  return (
    names.length === 0 ||
    names.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each))
  )
}
