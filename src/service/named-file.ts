import { excerpt } from '../excerpt.js'
import type { EaselError } from '../errors.js'

/** How errors call the files that requests name, and what lists and sets them. */
export interface FileKind {
  readonly what: string
  readonly route: string
  readonly option: string
  /** Whether the part of a name after the last / is enough if only one file has it. */
  readonly short: boolean
}

/** Most names that an error lists. */
const MAX_SHOWN = 20

/**
 * The file that a request names.
 *
 * @param refused makes the error of a message that says which files there are
 * @throws what `refused` makes
 */
export function fileNamed<File extends { readonly name: string }>(
  files: readonly File[],
  name: string,
  kind: FileKind,
  refused: (message: string) => EaselError
): File {
  const exact = files.find((file) => file.name === name)
  if (exact !== undefined) return exact
  const alike = kind.short ? files.filter((file) => file.name.slice(file.name.lastIndexOf('/') + 1) === name) : []
  if (alike.length === 1) return alike[0]!
  const shown = JSON.stringify(excerpt(name))
  if (alike.length > 1) throw refused(`${shown} could be ${namesOf(alike, kind)}: write the whole name`)
  throw refused(
    files.length === 0
      ? `there is no ${kind.what} ${shown}: this server has none; its operator sets ${kind.option}`
      : `there is no ${kind.what} ${shown}; there are ${namesOf(files, kind)}`
  )
}

function namesOf(files: readonly { readonly name: string }[], { route }: FileKind): string {
  const names = files.slice(0, MAX_SHOWN).map(({ name }) => name)
  return files.length > MAX_SHOWN ? `${names.join(', ')} and others, which GET ${route} lists` : names.join(', ')
}
