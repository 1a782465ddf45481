/** An error's field and message. */
export interface Named {
  readonly field: string | undefined
  readonly message: string
}

/**
 * An error in another API's names for our fields. Our messages start with the field's name.
 *
 * @param names theirs by ours
 */
export function inNames(names: Readonly<Record<string, string>>, { field, message }: Named): Named {
  const theirs = field === undefined ? undefined : names[field]
  if (field === undefined || theirs === undefined) return { field, message }
  return {
    field: theirs,
    message: message.startsWith(`${field} `) ? `${theirs}${message.slice(field.length)}` : message
  }
}
