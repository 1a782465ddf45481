// @ts-check
// Runs built images as a cluster would: as user 10001 with a read-only root; only /tmp and mounted folders are writable.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { startChild } from '../../tools/children.mjs'
import { freePorts } from '../../tools/ports.mjs'
import { step, StepError } from '../../tools/run.mjs'

const USER = 10_001
/** Images for devices that this machine may lack, and the package that drives the device. */
const DEVICE_IMAGES = [
  { image: 'worker', holds: 'libtpu' },
  { image: 'worker-cuda', holds: 'jax-cuda13-plugin' }
]
const PROMPT = JSON.stringify({ prompt: 'a red circle on a blue background', num_inference_steps: 4 })

/** @typedef {(args: readonly string[]) => Promise<string>} Buildah */
/** @typedef {{ image: string, env?: Record<string, string>, run?: string, command?: string[] }} Container */

/**
 * Makes a picture with the built images: all-in-one alone, and gateway, worker-cpu and webapp together.
 *
 * @param {Buildah} buildah
 * @param {readonly string[]} targets
 */
export async function tryImages(buildah, targets) {
  if (targets.includes('all-in-one')) {
    await step('Trying all-in-one', () =>
      trial(buildah, async (start, port) => {
        await start({ image: 'all-in-one', env: { PORT: port } })
        await picture(`http://127.0.0.1:${port}`)
        await start.health('all-in-one', { PORT: port })
      })
    )
  }
  if (['gateway', 'worker-cpu', 'webapp'].every((target) => targets.includes(target))) {
    await step('Trying gateway, worker-cpu and webapp', () =>
      trial(buildah, async (start, port, otherPort, socket) => {
        await start({ image: 'gateway', env: { PORT: port }, run: socket })
        await start({ image: 'worker-cpu', run: socket })
        await start({ image: 'webapp', env: { PORT: otherPort, SERVER_URL: `http://127.0.0.1:${port}` } })
        await picture(`http://127.0.0.1:${port}`)
        await until('the page answers', async () => (await fetch(`http://127.0.0.1:${otherPort}/healthz`)).ok)
        const page = await fetch(`http://127.0.0.1:${otherPort}/`)
        if (!page.ok) throw new StepError(`the page answers ${page.status}: ${await page.text()}`)
        await start.health('gateway', { PORT: port })
        await start.health('webapp', { PORT: otherPort })
      })
    )
  }
  // Without a TPU or GPU this only checks that the packages load.
  for (const { image, holds } of DEVICE_IMAGES.filter((each) => targets.includes(each.image))) {
    await step(`Trying ${image}`, () =>
      trial(buildah, async (start) => {
        await start.once({
          image,
          command: [
            'python',
            '-c',
            `import importlib.metadata as m, easel_worker.sdxl.serving.engine; print(m.version("${holds}"))`
          ],
          env: { JAX_PLATFORMS: 'cpu' }
        })
      })
    )
  }
}

/**
 * @typedef {((container: Container) => Promise<void>) & {
 *   once: (container: Container) => Promise<void>,
 *   health: (image: string, env: Record<string, string>) => Promise<void>
 * }} Start
 */

/**
 * @param {Buildah} buildah
 * @param {(start: Start, port: string, otherPort: string, socket: string) => Promise<void>} body
 */
async function trial(buildah, body) {
  /** @type {(() => Promise<void>)[]} */
  const ends = []
  const gone = new AbortController()
  const socket = `/tmp/easel-trial-${process.pid}`
  mkdirSync(socket)
  /** @param {Container} container */
  const open = async ({ image, env = {}, run, command }) => {
    const name = (await buildah(['from', '--pull-never', `easel-${image}`])).trim()
    const tree = (await buildah(['mount', name])).trim()
    const { OCIv1, Docker } = JSON.parse(await buildah(['inspect', name]))
    const healthcheck = Docker?.config?.Healthcheck?.Test ?? []
    const { Env, Entrypoint, Cmd, WorkingDir } = OCIv1.config
    const variables = {
      ...Object.fromEntries(Env.map((/** @type {string} */ line) => line.split(/=(.*)/s).slice(0, 2))),
      ...env
    }
    const child = enter(tree, variables, WorkingDir, [...Entrypoint, ...(command ?? Cmd)], run)
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    /** @type {Promise<number | null>} */
    const exit = new Promise((resolve) => child.once('exit', resolve))
    if (command === undefined) exit.then((code) => gone.abort(new StepError(`${image} ended with ${code}`)))
    ends.push(async () => {
      terminate(child.pid)
      await exit
      await buildah(['umount', name])
      await buildah(['rm', name])
      if (command === undefined && child.exitCode !== 0)
        throw new StepError(`${image} ended with ${child.exitCode} after SIGTERM:\n${output}`)
    })
    return { child, exit, healthcheck, tree, variables, WorkingDir, output: () => output, image }
  }
  /** @type {Map<string, Awaited<ReturnType<typeof open>>>} */
  const running = new Map()
  const start = /** @type {Start} */ (
    async (container) => {
      running.set(container.image, await open(container))
    }
  )
  start.once = async (container) => {
    const { exit, output } = await open(container)
    if ((await exit) !== 0) throw new StepError(`${container.image} failed:\n${output()}`)
  }
  start.health = async (image) => {
    const container = running.get(image)
    if (container === undefined) throw new StepError(`${image} does not run`)
    const { healthcheck, tree, variables, WorkingDir } = container
    if (healthcheck[0] !== 'CMD')
      throw new StepError(`${image} has an unexpected HEALTHCHECK: ${JSON.stringify(healthcheck)}`)
    const probe = enter(tree, variables, WorkingDir, healthcheck.slice(1))
    const code = await new Promise((resolve) => probe.once('exit', resolve))
    if (code !== 0) throw new StepError(`the HEALTHCHECK of ${image} ended with ${code}`)
  }
  try {
    const early = new Promise((_, reject) => gone.signal.addEventListener('abort', () => reject(gone.signal.reason)))
    const [port = 0, otherPort = 0] = await freePorts(2)
    await Promise.race([body(start, String(port), String(otherPort), socket), early])
  } catch (error) {
    for (const { image, output } of running.values()) process.stderr.write(`--- ${image}\n${output()}\n`)
    throw error
  } finally {
    for (const end of ends.toReversed()) await end()
    rmSync(socket, { recursive: true, force: true })
  }
}

/**
 * Starts a command in an image's file tree, in its own mount, process and IPC namespaces.
 *
 * @param {string} tree
 * @param {Record<string, string>} env
 * @param {string} workdir
 * @param {readonly string[]} command
 * @param {string} [run] a host folder to mount at /run/easel
 */
function enter(tree, env, workdir, command, run) {
  const at = (/** @type {string} */ path) => `"$0/${path}"`
  const mounts = [
    'set -e',
    'mount --bind "$0" "$0"',
    'mount -o remount,ro,bind "$0"',
    `mount -t proc proc ${at('proc')}`,
    `mount --rbind /dev ${at('dev')}`,
    `mount -t tmpfs -o size=1g,mode=1777 tmpfs ${at('tmp')}`,
    ...(run === undefined ? [] : [`chown ${USER}:${USER} ${run}`, `mount --bind ${run} ${at('run/easel')}`]),
    `exec chroot "$0" setpriv --reuid=${USER} --regid=${USER} --clear-groups --bounding-set=-all --no-new-privs env -i -C ${workdir} "$@"`
  ]
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  const isolate = ['--mount', '--pid', '--ipc', '--fork', '--kill-child']
  return startChild('unshare', [...isolate, 'sh', '-c', mounts.join('\n'), tree, ...variables, ...command], {
    stdio: ['ignore', 'pipe', 'pipe']
  })
}

/**
 * Sends SIGTERM to a container's first process. `unshare` ignores signals while it waits for that process.
 *
 * @param {number | undefined} unshare
 */
function terminate(unshare) {
  const children = existsSync(`/proc/${unshare}`)
    ? readFileSync(`/proc/${unshare}/task/${unshare}/children`, 'utf8')
    : ''
  for (const pid of children.split(' ').filter(Boolean)) process.kill(Number(pid), 'SIGTERM')
}

/** @param {string} url */
async function picture(url) {
  await until('the service is ready', async () => (await fetch(`${url}/health/ready`)).ok)
  const answer = await fetch(`${url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: PROMPT
  })
  const bytes = Buffer.from(await answer.arrayBuffer())
  if (!answer.ok || bytes.subarray(1, 4).toString() !== 'PNG')
    throw new StepError(`expected a picture, got ${answer.status}: ${bytes.toString().slice(0, 500)}`)
}

/**
 * @param {string} what
 * @param {() => Promise<boolean>} condition
 */
async function until(what, condition) {
  const end = performance.now() + 300_000
  while (!(await condition().catch(() => false))) {
    if (performance.now() > end) throw new StepError(`timed out after five minutes waiting until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}
