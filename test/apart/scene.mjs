// @ts-check
// A gateway apart: HAProxy in front, which also stands for the Service of the worker port, and three workers.
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeKeys } from '../../scripts/curve-keys.mjs'
import { haproxy } from '../../tools/http-tools.mjs'
import { freePorts } from '../../tools/ports.mjs'
import { root } from '../../tools/run.mjs'

export const WORKERS = ['worker-0', 'worker-1', 'worker-2']
const PYTHON = join(root, 'python-worker/.venv/bin/python')

/** @typedef {import('node:child_process').ChildProcess} Child */
/** @typedef {import('./cables.mjs').Network} Network */

/** Everything that runs, and what can be done to it. */
export class Scene {
  /** @type {Map<string, Child>} by place */
  #running = new Map()
  /** @type {Set<string>} places whose process is not started again */
  #leaving = new Set()
  /** @type {Map<string, { host: string, port: number }>} */
  #paths = new Map()
  #folder = mkdtempSync(join(tmpdir(), 'easel-apart-'))
  /** @type {Map<string, string>} what each place has said */
  #said = new Map()
  /** Log lines of gateways that must not be. */
  bad = /** @type {string[]} */ ([])
  /** @type {Record<'http' | 'workers' | 'gateway-a' | 'gateway-b' | 'port-a' | 'port-b', number>} */
  #ports
  #network

  /** @param {Network} network @param {Record<string, number>} ports */
  constructor(network, ports) {
    this.#network = network
    this.#ports = /** @type {any} */ (ports)
  }

  /** @param {Network} network */
  static async open(network) {
    const names = ['http', 'workers', 'gateway-a', 'gateway-b', 'port-a', 'port-b']
    const ports = await freePorts(names.length)
    const scene = new Scene(network, Object.fromEntries(names.map((name, index) => [name, ports[index] ?? 0])))
    makeKeys(join(scene.#folder, 'keys'))
    scene.startGateway('gateway-a')
    await scene.#startProxy()
    for (const worker of WORKERS) {
      scene.#paths.set(worker, await network.pathFor(worker, scene.#ports.workers))
      scene.startWorker(worker)
    }
    return scene
  }

  /** Where clients ask. */
  get url() {
    return `http://${this.#network.hostOf('proxy')}:${this.#ports.http}`
  }

  /** @param {'gateway-a' | 'gateway-b'} gateway */
  urlOf(gateway) {
    return `http://${this.#network.hostOf(gateway)}:${this.#ports[gateway]}`
  }

  /** @param {'gateway-a' | 'gateway-b'} gateway */
  startGateway(gateway) {
    const port = gateway === 'gateway-a' ? this.#ports['port-a'] : this.#ports['port-b']
    this.#start(gateway, process.execPath, [join(root, 'dist/main.js')], {
      HOST: this.#network.hostOf(gateway),
      PORT: String(this.#ports[gateway]),
      LOG_FORMAT: 'json',
      WORKER: 'connect',
      WORKERS: String(WORKERS.length),
      HOLD_REQUESTS: 'true',
      REQUEST_TIMEOUT: '600',
      CONNECTION_MAX_AGE: '2',
      DRAIN_TIMEOUT: '60',
      HEARTBEAT_INTERVAL: '0.2',
      HEARTBEAT_TIMEOUT: '3',
      WORKER_ENDPOINT: `tcp://${this.#network.hostOf(gateway)}:${port}`,
      CURVE_SECRET_KEY: `@${join(this.#folder, 'keys/gateway/secret')}`,
      CURVE_WORKER_KEYS: join(this.#folder, 'keys/gateway/workers')
    })
  }

  /** @param {string} worker */
  startWorker(worker) {
    const { host, port } = this.#paths.get(worker) ?? { host: '', port: 0 }
    this.#start(
      worker,
      PYTHON,
      `-m easel_worker --engine fake --sizes 64x64 --rows 4 --fake-step-ms 20 --name ${worker} --connect tcp://${host}:${port}`
        .split(' ')
        .concat('--model', join(root, 'models/demo')),
      {
        // The relay's address is loopback, which needs no keys; the gateway asks for them all the same.
        EASEL_CURVE_SERVER_KEY: `@${join(this.#folder, 'keys/worker/gateway')}`,
        EASEL_CURVE_SECRET_KEY: `@${join(this.#folder, 'keys/worker/secret')}`
      }
    )
  }

  /** @param {string} place @param {NodeJS.Signals} signal */
  signal(place, signal) {
    this.#running.get(place)?.kill(signal)
  }

  /** Ends a gateway as a rollout does. @param {'gateway-a' | 'gateway-b'} gateway */
  async retire(gateway) {
    const child = this.#running.get(gateway)
    this.#leaving.add(gateway)
    child?.kill('SIGTERM')
    if (child?.exitCode === null) await once(child, 'exit')
    return child?.exitCode
  }

  /** @param {string} worker */
  cut(worker) {
    return this.#network.cut(worker)
  }

  /** @param {string} worker */
  mend(worker) {
    return this.#network.mend(worker)
  }

  /** The last words of a place. @param {string} place */
  said(place) {
    return this.#said.get(place) ?? ''
  }

  async close() {
    for (const place of this.#running.keys()) this.#leaving.add(place)
    for (const child of this.#running.values()) {
      child.kill('SIGCONT')
      child.kill('SIGKILL')
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    }
    await this.#network.close()
    rmSync(this.#folder, { recursive: true })
  }

  async #startProxy() {
    const { haproxy: program, env } = await haproxy()
    const host = this.#network.hostOf('proxy')
    const file = join(this.#folder, 'haproxy.cfg')
    const server = (/** @type {'gateway-a' | 'gateway-b'} */ name, /** @type {number} */ port) =>
      `  server ${name} ${this.#network.hostOf(name)}:${port} check port ${this.#ports[name]} inter 200ms fall 1 rise 1`
    writeFileSync(
      file,
      `defaults
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout check 10s
  retries 0
  option httpchk GET /health/ready
frontend clients
  mode http
  bind ${host}:${this.#ports.http}
  default_backend gateways
backend gateways
  mode http
${server('gateway-a', this.#ports['gateway-a'])}
${server('gateway-b', this.#ports['gateway-b'])}
listen workers
  mode tcp
  bind ${host}:${this.#ports.workers}
${server('gateway-a', this.#ports['port-a'])}
${server('gateway-b', this.#ports['port-b'])}
`
    )
    this.#start('proxy', program, ['-db', '-q', '-f', file], env)
  }

  /**
   * @param {string} place
   * @param {string} command
   * @param {readonly string[]} args
   * @param {NodeJS.ProcessEnv} env
   */
  #start(place, command, args, env) {
    const child = this.#network.start(place, command, args, {
      cwd: join(root, 'python-worker'),
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env }
    })
    this.#running.set(place, child)
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk) => {
        this.#said.set(place, `${this.said(place)}${chunk}`.slice(-4000))
        if (place.startsWith('gateway') && /"level":60|"code":"INTERNAL"/.test(String(chunk)))
          this.bad.push(String(chunk))
      })
    // As the kubelet does with a container that ends.
    child.once('exit', () => {
      if (WORKERS.includes(place) && !this.#leaving.has(place)) this.startWorker(place)
    })
  }
}
