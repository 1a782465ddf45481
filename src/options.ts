import { parseArgs } from 'node:util'

/** A program's option: the value of its flag (`--kebab-case`), else of its environment variable, else the default. */
export interface Option<T> {
  env: string
  doc: string
  /** What `--help` and the docs call the value. */
  value: string
  fallback: T
  /** Whether errors must not repeat the value, and other processes must not get it. */
  secret?: boolean
  /** @throws Error that says which values are valid */
  parse: (text: string) => T
}

export type OptionValue<O> = O extends { parse: (text: string) => infer T; fallback: infer F } ? T | F : never

/** The values of a list of options, by name. */
export type OptionValues<O> = { -readonly [K in keyof O]: OptionValue<O[K]> }

/** The user asked for `--help`; `text` is what to print. */
export class HelpRequested extends Error {
  readonly text: string
  constructor(text: string) {
    super('help requested')
    this.text = text
  }
}

/** The user asked for `--version`. */
export class VersionRequested extends Error {}

/** A wrong option. The message names it and says which values are valid. */
export class OptionError extends Error {}

export function text(env: string, fallback: string, doc: string): Option<string> {
  return { env, doc, fallback, value: 'text', parse: (value) => value }
}

/** An option whose value only this program may know. */
export function secret<T>(option: Option<T>): Option<T> {
  return { ...option, secret: true }
}

export function optional<T>(option: Omit<Option<T>, 'fallback'>): Option<T | undefined> {
  return { ...option, fallback: undefined }
}

export interface Range {
  min: number
  max: number
  integer?: boolean
}

export function number(env: string, fallback: number, range: Range, doc: string): Option<number> {
  return {
    env,
    doc,
    fallback,
    value: range.integer ? 'integer' : 'number',
    parse: (value) => parseNumber(value, range)
  }
}

export function parseNumber(value: string, { min, max, integer }: Range): number {
  const parsed = value.trim() === '' ? Number.NaN : Number(value)
  if (!Number.isFinite(parsed) || parsed < min || parsed > max || (integer && !Number.isInteger(parsed))) {
    throw new Error(`must be ${integer ? 'a whole number' : 'a number'} from ${min} to ${max}`)
  }
  return parsed
}

export function flag(env: string, fallback: boolean, doc: string): Option<boolean> {
  const parse = (value: string) => {
    if (value !== 'true' && value !== 'false') throw new Error('must be true or false')
    return value === 'true'
  }
  return { env, doc, fallback, value: 'true|false', parse }
}

export function oneOf<const T extends string>(env: string, values: readonly T[], fallback: T, doc: string): Option<T> {
  const parse = (value: string) => {
    const found = values.find((candidate) => candidate === value)
    if (found === undefined) throw new Error(`must be one of ${values.join(', ')}`)
    return found
  }
  return { env, doc, fallback, value: values.join('|'), parse }
}

/** The environment variable for an option name: `defaultSteps` becomes `DEFAULT_STEPS`. */
export function envOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/** The flag for an option name, without the leading dashes. */
export function flagOf(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/**
 * Reads options from the command line and the environment.
 *
 * @throws OptionError naming the wrong option; HelpRequested with the text of `help` for `--help`; VersionRequested
 */
export function readOptions<O extends Record<string, Option<unknown>>>(
  options: O,
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
  help: () => string
): OptionValues<O> {
  const flags = readFlags(argv, Object.keys(options), help)
  const values: Record<string, unknown> = {}
  for (const [name, option] of Object.entries(options)) {
    const flag = flags[flagOf(name)]
    // An empty variable counts as unset, as in a manifest with `value: ""`.
    const raw = flag ?? (env[option.env] === '' ? undefined : env[option.env])
    const source = flag === undefined ? option.env : `--${flagOf(name)}`
    values[name] = raw === undefined ? option.fallback : parseOption(option, raw, source)
  }
  return values as OptionValues<O>
}

function readFlags(
  argv: readonly string[],
  names: readonly string[],
  help: () => string
): Record<string, string | undefined> {
  const known = Object.fromEntries(names.map((name) => [flagOf(name), { type: 'string' as const }]))
  let parsed
  try {
    parsed = parseArgs({
      args: withJoinedValues(argv, names.map(flagOf)),
      options: { ...known, help: { type: 'boolean', short: 'h' }, version: { type: 'boolean' } }
    })
  } catch (error) {
    throw new OptionError(`${(error as Error).message} (--help lists the options)`)
  }
  if (parsed.values.help) throw new HelpRequested(help())
  if (parsed.values.version) throw new VersionRequested()
  return parsed.values as Record<string, string | undefined>
}

/**
 * Turns `--flag value` into `--flag=value`. Otherwise parseArgs would refuse a value that starts with a dash, such as
 * `--worker-args '--rows 8'`.
 */
function withJoinedValues(argv: readonly string[], flags: readonly string[]): string[] {
  const taking = new Set(flags.map((flag) => `--${flag}`))
  const joined: string[] = []
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!
    const value = taking.has(argument) ? argv[index + 1] : undefined
    joined.push(value === undefined ? argument : `${argument}=${value}`)
    if (value !== undefined) index += 1
  }
  return joined
}

function parseOption<T>(option: Option<T>, raw: string, source: string): T {
  try {
    return option.parse(raw)
  } catch (error) {
    const given = option.secret === true ? '' : `=${JSON.stringify(raw)}`
    throw new OptionError(`${source}${given}: ${(error as Error).message}`)
  }
}

/**
 * The text of `--help`: `intro`, then every option with its flag, variable, default and meaning.
 *
 * @param root folder to strip from the defaults
 */
export function helpText(intro: string, options: Record<string, Option<unknown>>, root: string): string {
  const entries = Object.entries(options).map(([name, option]) => {
    const fallback =
      option.fallback === undefined || option.fallback === '' || Array.isArray(option.fallback)
        ? ''
        : ` [${String(option.fallback).replace(root, '')}]`
    return `  --${flagOf(name)} <${option.value}>\n      ${option.env}${fallback}\n      ${option.doc}`
  })
  return `${intro}

Each option is a flag or an environment variable; the flag wins.

${entries.join('\n')}
  -h, --help
      Print this.
  --version
      Print the version.
`
}
