import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { loadOptions, options, packageRoot } from '../../src/gateway-options.js'
import { flagOf, type Option } from '../../src/options.js'
import { options as webOptions } from '../../src/webapp/web-options.js'

/** docs/configuration.md, made from what the programs themselves say. */
export function configurationPage(): string {
  return `# Configuration

Every option of the three programs. Each is read from its flag, else from its environment variable, else it has the default; a variable that is set to
nothing counts as not set. A wrong option stops the program with one line that names it. In the manifests they are in the ConfigMap
\`easel-settings\`, which both containers of the Pod read: each takes the names it knows.

Made from \`src/gateway-options.ts\`, \`src/webapp/web-options.ts\` and \`python -m easel_worker --help\` by \`npx vitest run test/docs --update\`; a test fails when it is stale.

## Gateway

\`npm start -- --help\` prints the same, and what the workers that it starts read. It reads this page, since nothing need be installed for it.

${table(Object.entries(options).map(rowOf))}

## Worker

\`python -m easel_worker --help\` prints the same. A gateway that starts its workers (\`WORKER=spawn\`) gives them \`--connect\`, \`--name\`, \`--engine\`, \`--model\`
and \`--log-level\`, and whatever \`WORKER_ARGS\` says.

${table(workerRows())}

JAX reads variables of its own: \`JAX_PLATFORMS=tpu,cpu\` makes a worker without its chip fail instead of crawl on the CPU.

## Web page

For the page as a process of its own. (The gateway serves it too, at \`/\`.)

${table(Object.entries(webOptions).map(rowOf))}
`
}

type Row = [variable: string, flag: string, fallback: string, doc: string]

function table(rows: readonly Row[]): string {
  const lines = rows.map(
    ([variable, flag, fallback, doc]) =>
      `| \`${variable}\` | \`${flag}\` | ${fallback === '' ? '' : `\`${fallback}\``} | ${doc.replaceAll('|', '\\|')} |`
  )
  return ['| variable | flag | default | meaning |', '|---|---|---|---|', ...lines].join('\n')
}

function rowOf([name, option]: [string, Option<unknown>]): Row {
  const { env, value, fallback, doc } = option
  const shown = fallback === undefined || Array.isArray(fallback) ? '' : String(fallback).replace(packageRoot, '')
  return [env, `--${flagOf(name)} <${value.replaceAll('|', '\\|')}>`, shown, doc]
}

/** The worker's options as its `--help` shows them, on lines wide enough for each. */
function workerRows(): Row[] {
  const { python } = loadOptions([], {})
  const help = execFileSync(python, ['-m', 'easel_worker', '--help'], {
    cwd: join(packageRoot, 'python-worker'),
    env: { COLUMNS: '1000' },
    encoding: 'utf8'
  })
  return [...help.matchAll(/^ {2}(--[\w-]+) (\[?\w+\]?)\s+(.*)$/gm)].map(([, flag = '', value = '', text = '']) => {
    const [, doc = '', variable = '', fallback = ''] = /^(.*) \[([A-Z_0-9]+)\](?: \(default: (.*)\))?$/.exec(text) ?? []
    if (variable === '') throw new Error(`--help says no variable for ${flag}`)
    return [variable, `${flag} <${value}>`, fallback, `${doc.charAt(0).toUpperCase()}${doc.slice(1)}.`]
  })
}
