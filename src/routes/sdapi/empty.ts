/** Whether a value of a field says nothing: null, false, 0, or an empty text, list or object. */
export function isEmpty(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return !value
  return Object.keys(value).length === 0
}
