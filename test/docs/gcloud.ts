// What the documents use of gcloud, by command: its flags as the command's own help has them (gcloud 578.0.0). There is no gcloud to ask
// where the tests run, so a flag that a document wants is looked up once, by whoever adds it here.

const MEMBER = ['--member', '--role'] as const
const POOL = [
  '--location',
  '--node-locations',
  '--machine-type',
  '--num-nodes',
  '--service-account',
  '--spot',
  '--disk-type',
  '--enable-autoscaling',
  '--total-min-nodes',
  '--total-max-nodes'
] as const

const FLAGS: Record<string, readonly string[]> = {
  'artifacts docker images describe': [],
  'artifacts repositories add-iam-policy-binding': ['--location', ...MEMBER],
  'artifacts repositories create': ['--location', '--repository-format'],
  'artifacts repositories delete': ['--location'],
  'builds submit': ['--gcs-source-staging-dir', '--region', '--service-account', '--substitutions'],
  'certificate-manager certificates create': ['--domains'],
  'certificate-manager certificates delete': [],
  'certificate-manager maps create': [],
  'certificate-manager maps delete': [],
  'certificate-manager maps entries create': ['--certificates', '--hostname', '--map'],
  'certificate-manager maps entries delete': ['--map'],
  'compute addresses create': ['--global'],
  'compute addresses delete': ['--global'],
  'compute addresses describe': ['--global'],
  'compute disks list': ['--filter'],
  'compute forwarding-rules list': ['--filter'],
  'compute machine-types list': ['--filter', '--zones'],
  'compute tpus accelerator-types list': ['--zone'],
  'config set': [],
  'container clusters create': [
    '--addons',
    '--enable-dataplane-v2',
    '--gateway-api',
    '--release-channel',
    '--workload-pool',
    ...POOL
  ],
  'container clusters delete': ['--location'],
  'container clusters get-credentials': ['--location'],
  'container node-pools create': ['--cluster', '--accelerator', ...POOL],
  'iam service-accounts create': [],
  'iam service-accounts delete': [],
  'projects add-iam-policy-binding': ['--condition', ...MEMBER],
  'projects describe': [],
  'projects remove-iam-policy-binding': ['--condition', ...MEMBER],
  'services enable': [],
  'storage buckets add-iam-policy-binding': MEMBER,
  'storage buckets create': ['--location', '--uniform-bucket-level-access'],
  'storage cp': ['--recursive'],
  'storage ls': ['--recursive'],
  'storage rm': ['--recursive']
}

/** Those that every command takes. */
const EVERYWHERE = new Set(['--format', '--project', '--quiet'])

/** The service behind a command: it has to be enabled before. The first that fits counts. */
const SERVICES: readonly [prefix: string, service: string][] = [
  ['artifacts', 'artifactregistry'],
  ['builds', 'cloudbuild'],
  ['certificate-manager', 'certificatemanager'],
  ['compute tpus', 'tpu'],
  ['compute', 'compute'],
  ['container', 'container'],
  ['iam', 'iam'],
  ['storage', 'storage']
]

/** A call of gcloud, taken apart. */
export interface Call {
  command: string
  /** What is neither command nor flag. */
  names: string[]
  /** Values by flag, `''` for one without. */
  flags: Map<string, string>
}

/** @param argv the arguments of gcloud @throws Error naming what the command does not have */
export function parseCall(argv: readonly string[]): Call {
  const command = Object.keys(FLAGS)
    .filter((name) => argv.join(' ').startsWith(`${name} `) || argv.join(' ') === name)
    .sort((a, b) => b.length - a.length)[0]
  if (command === undefined) throw new Error(`gcloud ${argv.join(' ')}: no command that is known`)
  const rest = argv.slice(command.split(' ').length)
  const flags = new Map(
    rest
      .filter((word) => word.startsWith('--'))
      .map((word): [string, string] => [
        word.split('=', 1)[0] ?? '',
        word.includes('=') ? word.slice(word.indexOf('=') + 1) : ''
      ])
  )
  const unknown = [...flags.keys()].filter((flag) => !EVERYWHERE.has(flag) && !FLAGS[command]?.includes(flag))
  if (unknown.length > 0) throw new Error(`gcloud ${command} has no ${unknown.join(', ')} that is known`)
  return { command, names: rest.filter((word) => !word.startsWith('-')), flags }
}

/** The service that a call needs enabled, as in `services enable`; none for those that are always there. */
export function serviceFor({ command }: Call): string | undefined {
  const [, service] = SERVICES.find(([prefix]) => command === prefix || command.startsWith(`${prefix} `)) ?? []
  return service && `${service}.googleapis.com`
}
