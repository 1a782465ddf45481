/** The parts of the service's offer that narrow what a request may contain. */
export interface Offered {
  readonly schedulers: readonly string[]
  readonly limits: Readonly<Record<string, number>>
}

type Schema = Record<string, unknown>
interface Document {
  components?: { schemas?: Record<string, { properties?: Record<string, Schema> }> }
}

/**
 * Narrows the requests in an OpenAPI document to the limits and schedulers that the workers accept, so that a client
 * generated from it is not refused for a value the document allows. Without an offer, returns the document unchanged.
 */
export function asOffered<D extends object>(document: D, offered: Offered | undefined): D {
  if (offered === undefined) return document
  const { limits, schedulers } = offered
  const narrowed = structuredClone(document)
  // /v1 calls num_images `n`.
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
