import type { Files } from '../api/types.js'

/** A multipart/form-data body of fields, other than texts as JSON, and of files. */
export function formData(fields: object, files: Files): FormData {
  const form = new FormData()
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue
    // As a file, since browsers change the line breaks of texts in forms.
    if (typeof value === 'string') form.append(name, new Blob([value], { type: 'text/plain' }), name)
    else form.append(name, JSON.stringify(value))
  }
  // Not the visitor's own names of the files.
  for (const [name, file] of Object.entries(files) as [string, Blob | readonly Blob[]][])
    for (const each of [file].flat()) form.append(name, each, name)
  return form
}
