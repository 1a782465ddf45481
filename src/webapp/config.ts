import { packageRoot } from '../config.js'
import { ConfigError, helpText, number, oneOf, optional, type OptionValues, readOptions, text } from '../options.js'

const seconds = { min: 0.05, max: 86_400 }

/** Every option of the web page's own process, in the order `--help` shows them. */
export const options = {
  host: text('HOST', 'localhost', 'Address to listen on; 0.0.0.0 for every interface.'),
  port: number('PORT', 5000, { min: 0, max: 65_535, integer: true }, 'Port to listen on; 0 takes a free one.'),
  serverUrl: text(
    'SERVER_URL',
    'http://localhost:8000',
    'Address of the gateway that makes the images. It may stay inside: only this process has to reach it.'
  ),
  apiKey: optional({
    env: 'API_KEY',
    value: 'key',
    doc: "Access key of the gateway, added to what is forwarded. Whoever reaches this process then uses it. Default: the visitor's own key, if any.",
    parse: parseKey
  }),
  maxConnections: number(
    'MAX_CONNECTIONS',
    1024,
    { min: 1, max: 1_000_000, integer: true },
    "Most visitors' connections at a time. At one more, the one that has been idle the longest is closed; only when all have a request under way, the new one. Less where the limit of descriptors (ulimit -n) is low."
  ),
  maxRequests: number(
    'MAX_REQUESTS',
    128,
    { min: 1, max: 100_000, integer: true },
    'Most requests for images and recipes that are passed on at a time; one more is answered 429.'
  ),
  bodyLimit: number(
    'BODY_LIMIT',
    524_288,
    { min: 1024, max: 104_857_600, integer: true },
    "Largest request for images in bytes; not over the gateway's own BODY_LIMIT. (A file for its recipe: 64 MiB.)"
  ),
  receiveTimeout: number('RECEIVE_TIMEOUT', 30, seconds, 'Seconds that a visitor has to send a whole request.'),
  keepAliveTimeout: number(
    'KEEP_ALIVE_TIMEOUT',
    620,
    seconds,
    "Seconds that a visitor's connection stays open without a request. More than the balancer in front keeps its own (Google's: 600 s), or it sends a request into a connection that closes, and answers 502."
  ),
  sendTimeout: number(
    'SEND_TIMEOUT',
    30,
    seconds,
    'Seconds in which a visitor must read 1 MiB of an answer, or all that is left of it; one that does not is cut off.'
  ),
  drainTimeout: number(
    'DRAIN_TIMEOUT',
    20,
    seconds,
    'Seconds that SIGTERM leaves for answers that are under way; with 2 more for closing, less than the 30 that Kubernetes gives. A page whose stream is cut takes it up again elsewhere.'
  ),
  logLevel: oneOf(
    'LOG_LEVEL',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Least level that is logged.'
  ),
  logFormat: oneOf('LOG_FORMAT', ['json', 'pretty'], 'json', 'json for machines, pretty for a terminal.')
}

/** The settings of the web page's own process: parsed once, checked, frozen. */
export type WebConfig = Readonly<Omit<OptionValues<typeof options>, 'serverUrl'> & { serverUrl: URL }>

/**
 * Reads the settings from command line and environment.
 *
 * @throws ConfigError naming the option at fault; HelpRequested for `--help`; VersionRequested for `--version`
 */
export function loadWebConfig(
  argv: readonly string[] = process.argv.slice(2),
  env: NodeJS.ProcessEnv = process.env
): WebConfig {
  const values = readOptions(options, argv, env, webHelp)
  return Object.freeze({ ...values, serverUrl: parseServerUrl(values.serverUrl) })
}

/** What `--help` prints. */
export function webHelp(): string {
  return helpText(
    "easel-web: serves Easel's web page and forwards its requests to a gateway\n\nusage: easel-web [options]          (npm run start:web -- [options])",
    options,
    packageRoot
  )
}

function parseServerUrl(value: string): URL {
  const url = URL.canParse(value) ? new URL(value) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new ConfigError(`SERVER_URL=${JSON.stringify(value)}: must be an address such as http://gateway:8000`)
  return url
}

function parseKey(value: string): string {
  // What an Authorization header can carry.
  if (!/^[\x21-\x7e]+$/.test(value)) throw new Error('must be ASCII without spaces')
  return value
}
