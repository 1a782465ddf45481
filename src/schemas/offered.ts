/** What is offered, as far as it narrows a request. */
export interface Offered {
  readonly schedulers: readonly string[]
  readonly limits: Readonly<Record<string, number>>
}

type Schema = Record<string, unknown>
interface Document {
  components?: { schemas?: Record<string, { properties?: Record<string, Schema> }> }
}

/**
 * An OpenAPI document whose requests are no wider than what the workers take: a client that is made of it, or held to it, is
 * not refused for a number that the document allows. Without workers it is the document itself.
 */
export function asOffered<D extends object>(document: D, offered: Offered | undefined): D {
  if (offered === undefined) return document
  const { limits, schedulers } = offered
  const narrowed = structuredClone(document)
  // /v1 has another name for one of them.
  const maxima: Record<string, number> = { ...limits, n: limits['num_images'] ?? Infinity }
  for (const schema of ['GenerateRequest', 'OpenAiImagesRequest']) {
    const properties = (narrowed as Document).components?.schemas?.[schema]?.properties ?? {}
    for (const [name, maximum] of Object.entries(maxima)) {
      const property = properties[name]
      if (property !== undefined) property['maximum'] = Math.min(maximum, Number(property['maximum'] ?? Infinity))
    }
    const scheduler = properties['scheduler']
    if (scheduler !== undefined)
      scheduler['enum'] = Array.isArray(scheduler['type']) ? [...schedulers, null] : [...schedulers]
  }
  return narrowed
}
