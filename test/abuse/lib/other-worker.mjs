// @ts-check
import { Dealer } from 'zeromq'
import { idleHeartbeat } from '../../support/heartbeat.mjs'

const VERSION = 1
/** The part of protocol/README.md that this worker uses. */
const KINDS = { HELLO: 0x01, HEARTBEAT: 0x02, RESULT: 0x04, WELCOME: 0x81, REFUSED: 0x82, PING: 0x83, GENERATE: 0x84 }

/** A worker that sends any HELLO and makes black images. */
export class OtherWorker {
  /** The gateway's answer to its HELLO. @type {'WELCOME' | 'REFUSED' | undefined} */
  answer
  /** The seeds of its images. @type {Set<number>} */
  made = new Set()
  #dealer
  #hello

  /**
   * @param {string} endpoint
   * @param {{ name: string, model: string, digest: string, tokenizers: readonly string[] }} self model: its model's
   *   name; digest: its weights'
   */
  constructor(endpoint, { name, model, digest, tokenizers }) {
    this.#hello = {
      protocol: VERSION,
      worker: name,
      version: '0',
      pid: process.pid,
      model: { id: model, digest, dtype: 'uint8' },
      tokenizers: tokenizers.map((each, index) => ({ digest: each, pad_id: index === 0 ? 49_407 : 0, max_length: 77 })),
      sizes: [[64, 64]],
      rows: 8,
      features: ['guidance_interval'],
      schedulers: ['euler', 'euler_karras', 'euler_ancestral', 'ddim', 'dpmpp_2m', 'dpmpp_2m_karras'],
      defaults: {
        width: 64,
        height: 64,
        num_inference_steps: 20,
        guidance_scale: 5,
        scheduler: 'euler',
        negative_prompt: ''
      },
      limits: { max_steps: 1000, max_guidance_scale: 50, max_images: 16, max_cache_interval: 1 },
      devices: [{ id: 0, kind: 'other' }],
      programs: []
    }
    this.#dealer = new Dealer({ routingId: name, linger: 0 })
    this.#dealer.connect(endpoint)
    this.#listen().catch((error) => {
      if (!this.#dealer.closed) throw error
    })
  }

  hello() {
    return this.#send('HELLO', this.#hello)
  }

  close() {
    this.#dealer.close()
  }

  /**
   * @param {'HELLO' | 'HEARTBEAT' | 'RESULT'} kind
   * @param {object} header
   * @param {Buffer[]} binary
   */
  #send(kind, header, ...binary) {
    return this.#dealer.send([Buffer.from([KINDS[kind], VERSION]), Buffer.from(JSON.stringify(header)), ...binary])
  }

  async #listen() {
    for await (const [tag, header] of this.#dealer) {
      const kind = tag?.[0]
      const content = JSON.parse(String(header))
      if (kind === KINDS.WELCOME) this.answer = 'WELCOME'
      else if (kind === KINDS.REFUSED) this.answer = 'REFUSED'
      else if (kind === KINDS.PING) await this.#send('HEARTBEAT', idleHeartbeat(content.session))
      else if (kind === KINDS.GENERATE) await this.#make(content)
    }
  }

  /** @param {{ id: string, seeds: number[], width: number, height: number }} job */
  async #make({ id, seeds, width, height }) {
    for (const [image, seed] of seeds.entries()) {
      this.made.add(seed)
      await this.#send(
        'RESULT',
        { id, image, seed, width, height, timings: { queue_ms: 1, encode_ms: 1, denoise_ms: 1, decode_ms: 1 } },
        Buffer.alloc(width * height * 3)
      )
    }
  }
}
