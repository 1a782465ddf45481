import type { TSchema } from 'typebox'

const NUMBER = /^-?\d+(\.\d+)?(e[+-]?\d+)?$/i
const BOOLEANS: Readonly<Record<string, boolean>> = { true: true, false: false }

/**
 * The values of a form's texts by the schemas of their fields: numbers and booleans as JSON writes them, lists and
 * objects in JSON. A text that is not one stays a text, for the schema to refuse.
 */
export function valuesOf(
  fields: ReadonlyMap<string, string>,
  properties: Readonly<Record<string, TSchema>>
): Record<string, unknown> {
  return Object.fromEntries(
    [...fields].map(([name, text]) => [name, Object.hasOwn(properties, name) ? valueOf(text, properties[name]!) : text])
  )
}

function valueOf(text: string, schema: TSchema): unknown {
  const { type } = schema as { type?: string | readonly string[] }
  const types = new Set([type].flat())
  if (types.has('integer') || types.has('number')) return NUMBER.test(text) ? Number(text) : text
  if (types.has('boolean')) return Object.hasOwn(BOOLEANS, text) ? BOOLEANS[text] : text
  if (types.has('array') || types.has('object')) return parsed(text)
  return text
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
