import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'

type Build = ReturnType<typeof SerializerSelector>
type Serializer = ReturnType<ReturnType<Build>>

/**
 * Builds the serializers of answers as Fastify does, but each once, and with the shared schemas that it refers to.
 *
 * Fastify compiles one for every status and media type of every route, and each time checks all shared schemas. Most of
 * them are the same few errors: with ours, that took four seconds of each start.
 */
export function sharedSerializers(): Build {
  const build = SerializerSelector()
  const known = new Map<string, Serializer>()
  return (schemas, options) => (route) => {
    const shared = referred(route.schema, schemas as Record<string, unknown>)
    const key = JSON.stringify([route.schema, shared])
    const serializer = known.get(key) ?? build(shared, options)(route)
    known.set(key, serializer)
    return serializer
  }
}

/** The shared schemas to which a schema refers, directly or through others. */
function referred(schema: unknown, schemas: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const found: Record<string, unknown> = {}
  const waiting = [schema]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    for (const [, id = ''] of JSON.stringify(next).matchAll(/"\$ref":"([^"#]+)#?[^"]*"/g)) {
      const target = schemas[id]
      if (target === undefined || id in found) continue
      found[id] = target
      waiting.push(target)
    }
  }
  return found
}
