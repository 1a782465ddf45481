import { packageRoot } from '../gateway-options.js'
import { OptionError, helpText, number, oneOf, optional, type OptionValues, readOptions, text } from '../options.js'

const seconds = { min: 0.05, max: 86_400 }

/** Every option of the web page's own process, in `--help` order. */
export const options = {
  host: text('HOST', 'localhost', 'Address to listen on; 0.0.0.0 for every interface.'),
  port: number('PORT', 5000, { min: 0, max: 65_535, integer: true }, 'Port to listen on; 0 takes a free one.'),
  serverUrl: text(
    'SERVER_URL',
    'http://localhost:8000',
    'URL of the gateway that makes the images. Only this process must be able to reach it.'
  ),
  apiKey: optional({
    env: 'API_KEY',
    value: 'key',
    doc: "Access key for the gateway, added to forwarded requests. Everyone who reaches this process then uses it. Default: the visitor's own key, if any.",
    secret: true,
    parse: parseKey
  }),
  maxConnections: number(
    'MAX_CONNECTIONS',
    1024,
    { min: 1, max: 1_000_000, integer: true },
    "Maximum visitors' connections. One more closes the connection that has been idle longest, or the new one if all have a request in flight. Lower if the file descriptor limit (ulimit -n) is low."
  ),
  maxRequests: number(
    'MAX_REQUESTS',
    128,
    { min: 1, max: 100_000, integer: true },
    'Maximum requests for images and recipes forwarded at once; one more is answered 429.'
  ),
  bodyLimit: number(
    'BODY_LIMIT',
    524_288,
    { min: 1024, max: 104_857_600, integer: true },
    "Largest request for images without its pictures, in bytes. Keep it at or below the gateway's BODY_LIMIT. (Files sent for their recipe: 64 MiB.)"
  ),
  pictureLimit: number(
    'PICTURE_LIMIT',
    16_777_216,
    { min: 1024, max: 1_073_741_824, integer: true },
    "Largest picture that a request starts from, in bytes. Keep it at or below the gateway's PICTURE_LIMIT."
  ),
  receiveTimeout: number('RECEIVE_TIMEOUT', 30, seconds, 'Seconds for a visitor to send a whole request.'),
  keepAliveTimeout: number(
    'KEEP_ALIVE_TIMEOUT',
    620,
    seconds,
    "Seconds for which a visitor's idle connection stays open. Must exceed the load balancer's own (Google's: 600 s); otherwise it may send a request on a connection that is closing, and answer 502."
  ),
  connectionMaxAge: number(
    'CONNECTION_MAX_AGE',
    300,
    seconds,
    "Seconds after which a visitor's connection ends with its next answer, up to a fifth earlier, so that it reaches Pods that came later."
  ),
  sendTimeout: number(
    'SEND_TIMEOUT',
    30,
    seconds,
    'Seconds within which a visitor must read 1 MiB of an answer, or the rest of it, to avoid being disconnected.'
  ),
  drainTimeout: number(
    'DRAIN_TIMEOUT',
    20,
    seconds,
    'Seconds for answers in flight after SIGTERM. With 2 more for closing, this must stay below the 30 that Kubernetes allows. A page whose stream is cut resumes it on another instance.'
  ),
  logLevel: oneOf(
    'LOG_LEVEL',
    ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    'info',
    'Lowest level to log.'
  ),
  logFormat: oneOf('LOG_FORMAT', ['json', 'pretty'], 'json', 'json for machines, pretty for a terminal.')
}

/** The options of the web page's own process: parsed and validated once, then frozen. */
export type WebOptions = Readonly<Omit<OptionValues<typeof options>, 'serverUrl'> & { serverUrl: URL }>

/**
 * Reads the options from the command line and the environment.
 *
 * @throws OptionError naming the option at fault; HelpRequested for `--help`; VersionRequested for `--version`
 */
export function loadWebOptions(
  argv: readonly string[] = process.argv.slice(2),
  env: NodeJS.ProcessEnv = process.env
): WebOptions {
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
    throw new OptionError(`SERVER_URL=${JSON.stringify(value)}: must be an address such as http://gateway:8000`)
  return url
}

function parseKey(value: string): string {
  // The characters that an Authorization header can carry.
  if (!/^[\x21-\x7e]+$/.test(value)) throw new Error('must be ASCII without spaces')
  return value
}
