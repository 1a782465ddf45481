import { type Parameter, parameters } from '../../src/parameters.js'
import { envOf } from '../../src/options.js'

const HEAD = `# Parameters of a request

Made from \`src/parameters.ts\` by \`npx vitest run test/docs --update\`; a test fails when it is stale. Names and meanings are diffusers'. What a running server offers
(sizes, schedulers, limits, defaults) is in its \`GET /health\`, and as a JSON Schema in its \`/openapi.json\`.

A parameter that a request leaves out is the operator's default, else the model's default, else what stands here. Those marked ● decide the image and stand in its recipe; those marked
\`/v1\` are also taken by the OpenAI Images API, under the same name.

| parameter | values | default | | meaning |
|---|---|---|---|---|`

/** docs/parameters.md, as the table says. */
export function parametersPage(): string {
  const rows = Object.entries(parameters as Record<string, Parameter>).map(([name, parameter]) => {
    const { schema, recipe, openai } = parameter
    const marks = [...(recipe === undefined ? [] : ['●']), ...(openai === undefined ? [] : ['`/v1`'])].join(' ')
    const { description } = schema as { description?: string }
    return `| \`${name}\` | ${valuesOf(schema)} | ${defaultOf(parameter)} | ${marks} | ${(description ?? '').replaceAll('|', String.raw`\|`)} |`
  })
  return `${HEAD}\n${rows.join('\n')}\n`
}

function valuesOf(schema: object): string {
  const {
    type,
    enum: values,
    minimum,
    exclusiveMinimum,
    maximum,
    maxLength,
    pattern,
    minItems,
    maxItems,
    items
  } = schema as {
    type: string
    enum?: readonly string[]
    minimum?: number
    exclusiveMinimum?: number
    maximum?: number
    maxLength?: number
    pattern?: string
    minItems?: number
    maxItems?: number
    items?: object
  }
  if (values !== undefined) return values.map((value) => `\`${value}\``).join(', ')
  if (items !== undefined && minItems === maxItems) return `two of ${valuesOf(items)}`
  if (type === 'array' && (items as { type?: string }).type === 'object') return `list of at most ${maxItems} objects`
  if (type === 'array') return `list of ${minItems} to ${maxItems} numbers`
  if (type === 'object') return 'object'
  if (type === 'boolean') return 'true or false'
  if (pattern !== undefined) return '64 digits of hex'
  if (type === 'string' && maxLength === undefined) return 'file, or text in base64'
  if (type === 'string') return `text, at most ${maxLength} characters`
  const from = minimum ?? `more than ${exclusiveMinimum}`
  return `${type === 'integer' ? 'whole number' : 'number'}, ${from} to ${maximum}`
}

function defaultOf({ required, fallback, neutral, option }: Parameter): string {
  if (required === true) return 'required'
  if (option !== undefined) return `\`${envOf(option.key)}\`, else ${neutral ?? "the model's"}`
  return fallback === undefined ? '' : `\`${fallback}\``
}
