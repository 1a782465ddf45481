// @ts-check
// Networks between the parts of a scene, whose cables can be cut without either end being told.
import { connect, createServer } from 'node:net'
import { startChild } from '../../tools/children.mjs'
import { run } from '../../tools/run.mjs'

/** @typedef {import('node:child_process').ChildProcess} Child */

/**
 * @typedef {object} Network
 * @property {string} kind
 * @property {(place: string) => string} hostOf the address of a place, as every other place sees it
 * @property {(worker: string, port: number) => Promise<{ host: string, port: number }>} pathFor where a worker reaches the proxy's port
 * @property {(place: string, command: string, args: readonly string[], options: import('node:child_process').SpawnOptions) => Child} start starts a process in a place
 * @property {(worker: string) => Promise<void>} cut from now on nothing passes to or from the worker
 * @property {(worker: string) => Promise<void>} mend
 * @property {() => Promise<void>} close
 */

/**
 * A network on the loopback interface, for any user: each worker's cable is a relay in this process.
 *
 * @returns {Network}
 */
export function loopback() {
  /** @type {Map<string, Relay>} */
  const relays = new Map()
  return {
    kind: 'relays on loopback',
    hostOf: () => '127.0.0.1',
    async pathFor(worker, port) {
      const relay = new Relay(port)
      relays.set(worker, relay)
      return { host: '127.0.0.1', port: await relay.open() }
    },
    start: (_, command, args, options) => startChild(command, args, options),
    cut: async (worker) => relays.get(worker)?.cut(),
    mend: async (worker) => relays.get(worker)?.mend(),
    async close() {
      for (const relay of relays.values()) relay.close()
    }
  }
}

/** Passes bytes on, in both directions, unless it is cut: then it takes them and keeps them, as a dead network would. */
class Relay {
  /** @type {Set<[import('node:net').Socket, import('node:net').Socket]>} */
  #pairs = new Set()
  #isCut = false
  #port

  /** @param {number} port where it leads */
  constructor(port) {
    this.#port = port
    this.server = createServer((near) => this.#join(near))
  }

  /** @returns {Promise<number>} the port where it begins */
  open() {
    return new Promise((resolve) => {
      this.server.listen(0, '127.0.0.1', () => {
        const address = this.server.address()
        resolve(typeof address === 'object' && address !== null ? address.port : 0)
      })
    })
  }

  /** @param {import('node:net').Socket} near */
  #join(near) {
    const far = connect(this.#port, '127.0.0.1')
    /** @type {[import('node:net').Socket, import('node:net').Socket]} */
    const pair = [near, far]
    this.#pairs.add(pair)
    for (const [from, to] of /** @type {const} */ ([
      [near, far],
      [far, near]
    ])) {
      from.on('data', (chunk) => to.write(chunk))
      from.on('error', () => undefined)
      from.on('close', () => {
        // A cut cable tells nobody that the other end is gone.
        if (this.#isCut) return
        this.#pairs.delete(pair)
        to.destroy()
      })
    }
    if (this.#isCut) this.#hold(pair)
  }

  /** @param {[import('node:net').Socket, import('node:net').Socket]} pair */
  #hold(pair) {
    for (const socket of pair) socket.pause()
  }

  cut() {
    this.#isCut = true
    for (const pair of this.#pairs) this.#hold(pair)
  }

  /** What was held is lost: TCP would send it again, or give the connection up. Giving up is the harder case. */
  mend() {
    this.#isCut = false
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy()
    this.#pairs.clear()
  }

  close() {
    this.mend()
    this.server.close()
  }
}

const NET = '10.77.77'
const PLACES = ['proxy', 'gateway-a', 'gateway-b', 'worker-0', 'worker-1', 'worker-2']

/**
 * A network of namespaces on one bridge, one for each place, for root. A cable is cut by taking it off the bridge.
 *
 * @returns {Promise<Network>}
 */
export async function namespaces() {
  const ip = (/** @type {string} */ line) => run('ip', line.split(' '), { quiet: true })
  const name = (/** @type {string} */ place) => `easel-${process.pid}-${place}`
  const hostOf = (/** @type {string} */ place) => `${NET}.${PLACES.indexOf(place) + 10}`
  const bridge = name('net')
  const made = [bridge, ...PLACES.map(name)]
  const close = async () => {
    await ip(`link delete ez${process.pid}`).catch(() => undefined)
    for (const each of made) await ip(`netns delete ${each}`).catch(() => undefined)
  }
  try {
    for (const each of made) await ip(`netns add ${each}`)
    await ip(`-n ${bridge} link add br0 type bridge`)
    await ip(`-n ${bridge} link set br0 up`)
    // This process, as the clients.
    await ip(`link add ez${process.pid} type veth peer name clients netns ${bridge}`)
    await ip(`address add ${NET}.1/24 dev ez${process.pid}`)
    await ip(`link set ez${process.pid} up`)
    await ip(`-n ${bridge} link set clients master br0 up`)
    for (const place of PLACES) {
      await ip(`-n ${bridge} link add ${place} type veth peer name eth0 netns ${name(place)}`)
      await ip(`-n ${bridge} link set ${place} master br0 up`)
      await ip(`-n ${name(place)} address add ${hostOf(place)}/24 dev eth0`)
      await ip(`-n ${name(place)} link set eth0 up`)
      await ip(`-n ${name(place)} link set lo up`)
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    kind: 'network namespaces',
    hostOf,
    pathFor: async (_, port) => ({ host: hostOf('proxy'), port }),
    // `ip netns exec` becomes the command, so its process id is the command's.
    start: (place, command, args, options) =>
      startChild('ip', ['netns', 'exec', name(place), command, ...args], options),
    // At the bridge's end: the worker's own end would tell the worker.
    cut: async (worker) => void (await ip(`-n ${bridge} link set ${worker} nomaster`)),
    mend: async (worker) => void (await ip(`-n ${bridge} link set ${worker} master br0`)),
    close
  }
}
