import type { RecordClaim } from '../jobs/records.js'
import type { BatchEnd } from './batch.js'
import { ClaimedBatch, EndsEarly, Left } from './claimed.js'
import { endAs, finish } from './finish.js'
import { LineMaker } from './maker.js'
import type { WorkParts } from './parts.js'
import { validate } from './validation.js'

/** ms after which lines are read again that the store had no room for. */
const REREAD_MS = 10_000

/** The work on one claimed batch. Whatever it does may be done twice: by this gateway, and by the next one. */
export class BatchWork {
  readonly #parts: WorkParts
  readonly #claimed: ClaimedBatch
  readonly #maker: LineMaker

  constructor(parts: WorkParts, claim: RecordClaim) {
    this.#parts = parts
    this.#claimed = new ClaimedBatch(parts.jobs.store, claim, () => this.#maker.wake())
    this.#maker = new LineMaker(parts, this.#claimed)
  }

  get id(): string {
    return this.#claimed.batch.name.id
  }

  get scope(): string {
    return this.#claimed.batch.name.scope
  }

  /** Leaves the batch to others. */
  leave(): void {
    this.#claimed.leave()
  }

  /** Looks at once at whether its owner wants its end. */
  look(): void {
    void this.#claimed.beat()
  }

  /** Works until the batch has ended, or is lost. Never throws. */
  async run(): Promise<void> {
    const { jobs, log } = this.#parts
    const rest = this.#claimed.keepUp()
    const unwatch = jobs.store.onChange((name) => this.#maker.told(name))
    try {
      await this.#work()
    } catch (error) {
      if (!(error instanceof Left)) {
        // Its lease ends by itself, so that it is not tried again at once.
        log.error({ err: error, batch: this.id }, 'a batch could not be worked on')
        return
      }
      await this.#claimed.release()
    } finally {
      rest()
      unwatch()
    }
  }

  async #work(): Promise<void> {
    const { doc } = this.#claimed.batch
    try {
      if (doc.status === 'validating' && !(await this.#validate())) return
      if (doc.status === 'in_progress') {
        await this.#maker.make()
        await this.#finalizing('completed')
      }
    } catch (error) {
      if (!(error instanceof EndsEarly)) throw error
      await this.#finalizing(this.#claimed.cancelled ? 'cancelled' : 'expired')
    }
    await finish(this.#claimed, this.#parts)
  }

  /** Returns whether the lines are right. */
  async #validate(): Promise<boolean> {
    const { jobs, files, endpoint, inTurn } = this.#parts
    const claimed = this.#claimed
    const { batch } = claimed
    const read = () =>
      validate(batch, {
        jobs,
        files,
        endpoint,
        // One that waits for room must not make others wait for their turn.
        write: (parts) => claimed.write(parts),
        goOn: () => claimed.unlessEarly()
      })
    const { total, errors } = await claimed.patiently(() => inTurn(read), REREAD_MS)
    if (errors.length > 0) {
      batch.doc.errors = errors
      await endAs('failed', claimed, this.#parts)
      return false
    }
    batch.doc.total = total
    claimed.become('in_progress')
    await claimed.save()
    return true
  }

  async #finalizing(end: BatchEnd): Promise<void> {
    this.#claimed.batch.doc.end = end
    this.#claimed.become('finalizing')
    await this.#claimed.save()
  }
}
