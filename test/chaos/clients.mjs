// @ts-check
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { randomNumbers } from '../../tools/random.mjs'
import { bodyOf, Broken, post, Progress } from './http.mjs'
import { planRequest } from './random-requests.mjs'

/** Average time before a client disconnects, in ms. */
const STAY_MS = 60
/** Time before a client retries, in ms. */
const AGAIN_MS = 100
/** How often a client disconnects from a request with a key. */
const MAX_LEAVES = 3

/**
 * The outcomes of the requests. `broken` lists what must not happen.
 *
 * @typedef {{ attempts: number, ends: Record<string, number>, broken: string[] }} Tally
 * @typedef {(png: Buffer, plan: import('./random-requests.mjs').Plan, seed: number) => Promise<boolean>} IsPicture
 */

/**
 * Runs clients that share the requests and send them in turn, each by its plan.
 *
 * @param {{ url: string, clients: number, more: () => number | undefined, seed: number, isPicture: IsPicture }} options more: returns the next request's number, or undefined at the end
 * @returns {Promise<Tally>}
 */
export async function runClients({ url, clients, more, seed, isPicture }) {
  /** @type {Tally} */
  const tally = { attempts: 0, ends: {}, broken: [] }
  const progress = new Progress()
  await Promise.all(
    Array.from({ length: clients }, async () => {
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
      for (let index = more(); index !== undefined; index = more()) {
        const client = new Client({
          url,
          agent,
          progress,
          isPicture,
          random: randomNumbers(seed * 1_000_003 + index),
          tally
        })
        await client.run(index, `run-${seed}`)
      }
      agent.destroy()
    })
  )
  return tally
}

class Client {
  /** @param {{ url: string, agent: http.Agent, progress: Progress, isPicture: IsPicture, random: () => number, tally: Tally }} parts */
  constructor({ url, agent, progress, isPicture, random, tally }) {
    this.url = url
    this.agent = agent
    this.progress = progress
    this.isPicture = isPicture
    this.random = random
    this.tally = tally
  }

  /**
   * @param {number} index
   * @param {string} run
   */
  async run(index, run) {
    const plan = planRequest(index, run, this.random)
    let end
    try {
      end = await this.carryOut(plan)
    } catch (error) {
      if (!(error instanceof Broken)) throw error
      end = 'broken'
      this.tally.broken.push(`request ${index} (${plan.manner}): ${error.message}`)
    }
    this.tally.ends[end] = (this.tally.ends[end] ?? 0) + 1
  }

  /**
   * @param {import('./random-requests.mjs').Plan} plan
   * @returns {Promise<string>} the kind of end
   */
  async carryOut(plan) {
    const answer = await this.ask(plan, this.leaves(plan.manner))
    if (answer === 'left') return 'left'
    if (plan.manner === 'invalid') return this.refused(answer, 400, 'UNSUPPORTED_SIZE')
    if (answer.status !== 200) return this.failed(answer)
    const seed = Number(answer.headers['easel-seed'])
    if (plan.body.seed !== undefined && plan.body.seed !== seed)
      throw new Broken(`asked for seed ${plan.body.seed}, got ${seed}`)
    if (!(await this.isPicture(answer.body, plan, seed))) throw new Broken('got the image of another request')
    if (plan.manner === 'repeat') await this.repeat(plan, answer)
    if (plan.manner === 'reuse') await this.reuse(plan)
    return 'image'
  }

  /**
   * Sends a request until it is answered, or the client leaves for good. Retries later if the server does not accept it.
   *
   * @param {import('./random-requests.mjs').Plan} plan
   * @param {number} leaves how often the client disconnects
   */
  async ask(plan, leaves) {
    const { agent, progress } = this
    const { key } = plan
    const body = await bodyOf(plan)
    for (;;) {
      this.tally.attempts += 1
      const leaveAfter = leaves > 0 ? -Math.log(1 - this.random()) * STAY_MS : undefined
      const answer = await post(this.url, body, { agent, progress, key, leaveAfter })
      if (answer === 'left') {
        leaves -= 1
        if (key === undefined) return answer
      } else if (answer.status !== 429 && answer.status !== 503) {
        progress.note()
        return answer
      } else {
        this.refused(answer, answer.status, ...(answer.status === 429 ? ['QUEUE_FULL'] : ['NOT_READY', 'MEMORY_FULL']))
        if (!(Number(answer.headers['retry-after']) >= 1)) throw new Broken(`${answer.status} without Retry-After`)
        if (progress.hangs) throw new Broken(`answered ${answer.status} while the service hangs`)
        await sleep(AGAIN_MS * (0.5 + this.random()))
      }
    }
  }

  /** @param {import('./random-requests.mjs').Manner} manner */
  leaves(manner) {
    if (manner === 'leave') return 1
    return manner === 'retry' ? 1 + Math.floor(this.random() * MAX_LEAVES) : 0
  }

  /**
   * @param {import('./random-requests.mjs').Plan} plan
   * @param {import('./http.mjs').Answer} first
   */
  async repeat(plan, first) {
    const again = await this.ask(plan, 0)
    if (again === 'left' || again.status !== 200)
      throw new Broken(`the repeated request was answered ${again === 'left' ? again : again.status}`)
    if (!again.body.equals(first.body)) throw new Broken('the repeated request got another image')
  }

  /** @param {import('./random-requests.mjs').Plan} plan */
  async reuse(plan) {
    const answer = await this.ask({ ...plan, body: { ...plan.body, seed: plan.index } }, 0)
    if (answer === 'left') throw new Broken('left')
    this.refused(answer, 422, 'IDEMPOTENCY_KEY_REUSED')
  }

  /**
   * @param {import('./http.mjs').Answer} answer
   * @param {number} status
   * @param {string[]} codes one of which the answer must have
   */
  refused(answer, status, ...codes) {
    const text = answer.body.toString()
    const { code } = JSON.parse(text)
    if (answer.status !== status || !codes.includes(code))
      throw new Broken(`expected ${status} ${codes.join(' or ')}, got ${answer.status} ${text.slice(0, 200)}`)
    return code
  }

  /**
   * Tells whether a failure is the only acceptable one: the request was running at two worker deaths in a row.
   *
   * @param {import('./http.mjs').Answer} answer
   */
  failed(answer) {
    return this.refused(answer, 500, 'WORKER_CRASHED')
  }
}
