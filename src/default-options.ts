import { envOf, number, oneOf, type Option, type OptionValues, optional, parseNumber, type Range } from './options.js'
import {
  type Defaults,
  type NamesWith,
  type Parameter,
  type parameters,
  parametersWith,
  type ValueOf
} from './parameters.js'

type Table = typeof parameters
type DefaultOptions = {
  [N in NamesWith<'option'> as Table[N]['option']['key']]: Option<
    Table[N] extends { neutral: unknown } ? ValueOf<N> : ValueOf<N> | undefined
  >
}

/** The operator's defaults for requests: one option for each parameter with an `option`. */
export const defaultOptions = Object.fromEntries(
  parametersWith('option').map((parameter) => [parameter.option.key, optionOf(parameter)])
) as unknown as DefaultOptions

/** The values of `defaultOptions`, by parameter name. */
export function defaultsIn(values: OptionValues<DefaultOptions>): Defaults {
  return Object.fromEntries(
    parametersWith('option').map(({ name, option }) => [name, values[option.key as keyof typeof values]])
  ) as Defaults
}

function optionOf({
  schema,
  neutral,
  option: { key, value, doc }
}: Parameter & { option: NonNullable<Parameter['option']> }): Option<unknown> {
  const {
    type,
    minimum: min = -Infinity,
    maximum: max = Infinity,
    enum: values
  } = schema as { type?: string; minimum?: number; maximum?: number; enum?: readonly string[] }
  const env = envOf(key)
  if (values !== undefined && typeof neutral === 'string') return oneOf(env, values, neutral, doc)
  if (type === 'string') return optional({ env, doc, value: value ?? 'text', parse: (text: string) => text })
  const range: Range = { min, max, integer: type === 'integer' }
  if (typeof neutral === 'number') return number(env, neutral, range, doc)
  return optional({ env, doc, value: value ?? type ?? 'number', parse: (text: string) => parseNumber(text, range) })
}
