import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { packageRoot } from '../../src/gateway-options.js'
import {
  type ComputeClass,
  type Deployment,
  type Gateway,
  INSTALL_MS,
  type Manifest,
  named,
  ofKind,
  overlays,
  parseManifests,
  type PodSpec,
  render
} from '../deploy/manifests.js'
import { startHub } from '../support/hub.js'
import { type Call, parseCall, serviceFor } from './gcloud.js'
import { commandsOf } from './shell.js'
import { digestOf, PROJECT_NUMBER, type Walk, walk } from './walk.js'

const PAGE = 'docs/deploy-gke.md'
const COMMIT = '462165984030d82259a11f4367a4eed129e94a7b'

/** What is read of SDXL base, and so what has to be in the bucket. */
const READ = [
  'model_index.json',
  'scheduler/scheduler_config.json',
  ...['tokenizer', 'tokenizer_2'].flatMap((part) =>
    ['merges.txt', 'special_tokens_map.json', 'tokenizer_config.json', 'vocab.json'].map((file) => `${part}/${file}`)
  ),
  ...['text_encoder', 'text_encoder_2', 'unet', 'vae'].map((part) => `${part}/config.json`),
  ...['text_encoder', 'text_encoder_2'].map((part) => `${part}/model.fp16.safetensors`),
  ...['unet', 'vae'].map((part) => `${part}/diffusion_pytorch_model.fp16.safetensors`)
]
/** What else its repository on the hub has. */
const NOT_READ = [
  '.gitattributes',
  'LICENSE.md',
  'README.md',
  'pipeline.png',
  'sd_xl_base_1.0.safetensors',
  'sd_xl_base_1.0_0.9vae.safetensors',
  'sd_xl_offset_example-lora_1.0.safetensors',
  ...['text_encoder', 'text_encoder_2'].flatMap((part) =>
    ['flax_model.msgpack', 'model.onnx', 'model.safetensors', 'openvino_model.bin'].map((file) => `${part}/${file}`)
  ),
  'unet/diffusion_pytorch_model.safetensors',
  'vae/diffusion_pytorch_model.safetensors',
  'vae_1_0/config.json',
  'vae_1_0/diffusion_pytorch_model.fp16.safetensors',
  'vae_decoder/config.json',
  'vae_encoder/model.onnx'
]

let walked: Walk
let calls: Call[]
beforeAll(async () => {
  // The configs and tokenizers are checked before weights are fetched, so they are real.
  const content = (path: string) => {
    const file = join(packageRoot, 'models/sdxl-base-config', path)
    return existsSync(file) ? readFileSync(file, 'utf8') : path
  }
  const files = Object.fromEntries([...READ, ...NOT_READ].map((path) => [path, content(path)]))
  const hub = await startHub({ repository: 'stabilityai/stable-diffusion-xl-base-1.0', commit: COMMIT, files })
  walked = await walk(PAGE, { HF_ENDPOINT: hub.url })
  await hub.stop()
  // What stands in the text is for the reader's eyes, with variables; a call is a call all the same.
  const inText = commandsOf(PAGE, 'gcloud')
    .filter((command) => command.startsWith('gcloud compute tpus'))
    .map((command) => command.split(' '))
  calls = [...walked.calls, ...inText].filter(([program]) => program === 'gcloud').map(([, ...argv]) => parseCall(argv))
}, INSTALL_MS)
afterAll(() => walked.remove())

const of = (command: string) => calls.filter((call) => call.command === command)
const flag = (call: Call, name: string) => call.flags.get(name) ?? ''

/** Roles by member and by what they are for, such as `projects your-project`. */
function grants(): { member: string; role: string; on: string }[] {
  return calls
    .filter(({ command }) => command.endsWith('add-iam-policy-binding'))
    .map((call) => ({ member: flag(call, '--member'), role: flag(call, '--role'), on: call.names[0] ?? '' }))
}

const account = (name: string) => `serviceAccount:${name}@your-project.iam.gserviceaccount.com`
const rolesOf = (member: string) =>
  grants()
    .filter((grant) => grant.member === member)
    .map(({ role, on }) => `${role} on ${on}`)
    .sort()

describe(`following ${PAGE}`, () => {
  it('meets no command that fails and no variable that nothing has set', () => {
    expect([walked.status, walked.output]).toEqual([0, expect.not.stringMatching(/unbound variable|command not found/)])
    expect(calls.length).toBeGreaterThan(30)
  })

  it('uses no command or flag of gcloud that does not exist', () => {
    expect(() => parseCall(['container', 'clusters', 'create', 'easel', '--zones=a'])).toThrow(
      'container clusters create has no --zones'
    )
    expect(() => parseCall(['container', 'cluster', 'create'])).toThrow('no command')
    for (const page of ['docs/operations.md', 'docs/security.md', 'docs/capacity.md'])
      for (const command of commandsOf(page, 'gcloud'))
        expect(() => parseCall(command.split(' ').slice(1))).not.toThrow()
  })

  it('enables every service before it is used', () => {
    const enabled = new Set<string>()
    for (const call of calls.filter(({ command }) => command !== 'compute tpus accelerator-types list')) {
      if (call.command === 'services enable') for (const service of call.names) enabled.add(service)
      const needed = serviceFor(call)
      expect([call.command, needed === undefined || enabled.has(needed)]).toEqual([call.command, true])
    }
    // Nodes with TPUs need this one, and so does whoever asks which zone has them. Managed Prometheus is asked through that one.
    expect([...enabled]).toEqual(
      expect.arrayContaining([serviceFor(of('compute tpus accelerator-types list')[0]!), 'monitoring.googleapis.com'])
    )
  })

  it('keeps the add-ons that --addons would turn off, and adds those that the manifests need', () => {
    const [cluster] = of('container clusters create')
    expect(flag(cluster!, '--addons').split(',').sort()).toEqual([
      'GcePersistentDiskCsiDriver',
      'GcsFuseCsiDriver',
      'HorizontalPodAutoscaling',
      'HttpLoadBalancing'
    ])
    expect([...cluster!.flags.keys()]).toEqual(
      expect.arrayContaining(['--enable-dataplane-v2', '--workload-pool', '--gateway-api'])
    )
    expect(flag(cluster!, '--workload-pool')).toBe('your-project.svc.id.goog')
  })

  it('makes a cluster of the region, so that a pool in another zone needs no other one', () => {
    const about = calls.filter(({ command }) => command.startsWith('container '))
    expect(new Set(about.map((call) => flag(call, '--location')))).toEqual(new Set(['us-central1']))
    const made = [...of('container clusters create'), ...of('container node-pools create')]
    for (const call of made)
      expect([call.names, flag(call, '--node-locations')]).toEqual([
        call.names,
        expect.stringMatching(/^us-central1-[a-z]$/)
      ])
    expect(
      new Set(of('container node-pools create').map((call) => flag(call, '--node-locations'))).size
    ).toBeGreaterThan(1)
    // The manifests name it, to tell its metrics from others'.
    const place = parse(readFileSync(join(walked.folder, 'k8s/components/place/place.yaml'), 'utf8')) as {
      data: Record<string, string>
    }
    expect(new Set(of('container node-pools create').map((call) => flag(call, '--cluster')))).toEqual(
      new Set([place.data['cluster']])
    )
    expect(of('container clusters create')[0]?.names).toEqual([place.data['cluster']])
  })

  it('runs nodes and builds as accounts that may do what they have to, and no more', () => {
    expect(of('iam service-accounts create').map(({ names }) => names[0])).toEqual(['easel-nodes', 'easel-build'])
    expect(rolesOf(account('easel-nodes'))).toEqual([
      'roles/artifactregistry.reader on easel',
      'roles/container.defaultNodeServiceAccount on your-project'
    ])
    expect(rolesOf(account('easel-build'))).toEqual([
      'roles/artifactregistry.writer on easel',
      'roles/logging.logWriter on your-project',
      'roles/storage.objectViewer on gs://your-project-easel-build'
    ])
    for (const call of [...of('container clusters create'), ...of('container node-pools create')])
      expect(`serviceAccount:${flag(call, '--service-account')}`).toBe(account('easel-nodes'))
    const [build] = of('builds submit')
    expect(
      `serviceAccount:${flag(build!, '--service-account').replace('projects/your-project/serviceAccounts/', '')}`
    ).toBe(account('easel-build'))
    expect(flag(build!, '--gcs-source-staging-dir')).toMatch(/^gs:\/\/your-project-easel-build\//)
  })

  it('lets the Pods into the bucket as themselves, and the adapter into the metrics', () => {
    const pool = `principal://iam.googleapis.com/projects/${PROJECT_NUMBER}/locations/global/workloadIdentityPools/your-project.svc.id.goog`
    expect(rolesOf(`${pool}/subject/ns/easel/sa/easel`)).toEqual([
      'roles/storage.objectUser on gs://your-project-easel'
    ])
    expect(rolesOf(`${pool}/subject/ns/custom-metrics/sa/custom-metrics-stackdriver-adapter`)).toEqual([
      'roles/monitoring.viewer on your-project'
    ])
    expect(rolesOf(`${pool}/subject/ns/keda/sa/keda-operator`)).toEqual(['roles/monitoring.viewer on your-project'])
    // What the commands above and below leave is nothing.
    expect(new Set(grants().map(({ member }) => member)).size).toBe(5)
  })

  it('fetches into the bucket what gateway and worker read, and nothing else', () => {
    const folder = join(walked.folder, 'sdxl-base')
    const there = readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    expect(there.sort()).toEqual([...READ, 'source.json'].sort())
    expect(of('storage cp')[0]?.names).toEqual(['sdxl-base', 'gs://your-project-easel/models/'])
  })

  it('says the place in the one file that has it, with the digests that the registry told', () => {
    const { data } = parse(readFileSync(join(walked.folder, 'k8s/components/place/place.yaml'), 'utf8')) as {
      data: Record<string, string>
    }
    expect(data).toEqual({
      registry: 'us-central1-docker.pkg.dev',
      project: 'your-project',
      repository: 'easel',
      ...Object.fromEntries(
        ['gateway', 'worker', 'worker-cuda', 'webapp'].map((name) => [name, `0123456@${digestOf(name)}`])
      ),
      nodes: 'easel-nodes@your-project.iam.gserviceaccount.com',
      cluster: 'easel',
      bucket: 'your-project-easel',
      host: 'easel.example.com'
    })
    expect(flag(of('builds submit')[0]!, '--substitutions')).toContain('_REGION=us-central1,_TAG=0123456,')
    expect(of('artifacts repositories create')[0]?.names).toEqual([data['repository']])
  })

  it('gives back every role, and deletes all that it has made', () => {
    const removed = of('projects remove-iam-policy-binding').map(
      (call) => `${flag(call, '--member')} ${flag(call, '--role')}`
    )
    const given = of('projects add-iam-policy-binding').map(
      (call) => `${flag(call, '--member')} ${flag(call, '--role')}`
    )
    expect(removed.sort()).toEqual(given.sort())
    const made = calls.filter(
      ({ command, names }) => command.endsWith(' create') && !command.includes('node-pools') && names.length > 0
    )
    const gone = new Set(
      calls
        .filter(({ command }) => command.endsWith(' delete') || command === 'storage rm')
        .flatMap(({ command, names }) =>
          names.map((name) => `${command.replace(/ (delete|rm)$/, '')} ${name.split('@')[0]}`)
        )
    )
    expect(made.length).toBeGreaterThan(8)
    expect(
      made
        .map(
          ({ command, names }) => `${command.replace(/ create$/, '').replace('storage buckets', 'storage')} ${names[0]}`
        )
        .filter((name) => !gone.has(name))
    ).toEqual([])
  })
})

describe(`the pools of ${PAGE}`, () => {
  /** How a machine type shows itself to a Pod: its accelerator, and for TPUs their topology. */
  const LABELS: Record<string, string[]> = {
    'ct5lp-hightpu-1t': ['tpu-v5-lite-podslice', '1x1'],
    'ct5lp-hightpu-8t': ['tpu-v5-lite-podslice', '2x4'],
    'ct6e-standard-1t': ['tpu-v6e-slice', '1x1'],
    'g2-standard-8': ['nvidia-l4']
  }

  async function podOf(overlay: string): Promise<PodSpec> {
    return named<Deployment>(parseManifests(await render(overlay)), 'Deployment', 'easel').spec.template.spec
  }

  it(
    'are made for gke-apart by its class, of the same chips, as the same account',
    async () => {
      const { spec } = named<ComputeClass & { spec: { nodePoolConfig: { serviceAccount: string } } }>(
        parseManifests(await render('gke-apart')),
        'ComputeClass',
        'easel-v5e'
      )
      for (const { tpu } of spec.priorities) expect([tpu?.type, tpu?.topology]).toEqual(LABELS['ct5lp-hightpu-1t'])
      expect(spec.nodePoolConfig.serviceAccount).toBe('easel-nodes@PROJECT_ID.iam.gserviceaccount.com')
    },
    INSTALL_MS
  )

  it.each(overlays.filter((name) => !['cpu-demo', 'valkey', 'gke-apart', 'gke-apart-https'].includes(name)))(
    '%s finds its nodes',
    async (overlay) => {
      const { nodeSelector = {} } = await podOf(overlay)
      const labels = ['gke-tpu-accelerator', 'gke-tpu-topology', 'gke-accelerator'].flatMap(
        (label) => nodeSelector[`cloud.google.com/${label}`] ?? []
      )
      const wanted = [...labels, nodeSelector['cloud.google.com/gke-spot'] === 'true']
      const pools = of('container node-pools create').map((call) => [
        ...(LABELS[flag(call, '--machine-type')] ?? []),
        call.flags.has('--spot')
      ])
      expect(pools).toContainEqual(wanted)
      // The table says the same machine.
      const [machine] = Object.entries(LABELS).find(([, each]) => each.join() === labels.join()) ?? []
      const rows = readFileSync(join(packageRoot, PAGE), 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('|') && line.includes(`\`${overlay}\``))
      expect(rows).toEqual([expect.stringContaining(`\`${machine}\``)])
    },
    INSTALL_MS
  )

  it('are of machines without Persistent Disk only where the disk is said', () => {
    const v6e = of('container node-pools create').filter((call) => flag(call, '--machine-type').startsWith('ct6e-'))
    expect(v6e.map((call) => flag(call, '--disk-type'))).toEqual(['hyperdisk-balanced'])
  })
})

describe(`the name and the certificate of ${PAGE}`, () => {
  let manifests: Manifest[]
  beforeAll(async () => {
    manifests = parseManifests(await render('gke-https'))
  }, INSTALL_MS)

  it('are those that the Gateway asks for', () => {
    const gateway = named<Gateway & { spec: { addresses: { value: string }[] } }>(manifests, 'Gateway', 'easel')
    expect(of('compute addresses create').map(({ names }) => names[0])).toEqual(
      gateway.spec.addresses.map(({ value }) => value)
    )
    const [map] = of('certificate-manager maps create')
    expect(map?.names).toEqual([gateway.metadata.annotations?.['networking.gke.io/certmap']])
    const [certificate] = of('certificate-manager certificates create')
    const [entry] = of('certificate-manager maps entries create')
    expect([flag(entry!, '--map'), flag(entry!, '--certificates'), flag(entry!, '--hostname')]).toEqual([
      map?.names[0],
      certificate?.names[0],
      flag(certificate!, '--domains')
    ])
    expect(ofKind(manifests, 'Gateway')).toHaveLength(1)
  })
})
