import { beforeEach, describe, expect, it } from 'vitest'
import type { ServedModel } from '../../src/workers/served-model.js'
import { SharedDevice } from '../../src/workers/shared-device.js'

/** What a shared device sees of a model. */
class Stub {
  readonly name: string
  capabilities: object | undefined = {}
  complete = true
  busy = false
  queued = 0
  oldestQueuedAt: number | undefined
  backlogSeconds = 0
  swapSeconds: number | undefined
  paused = false

  constructor(name: string) {
    this.name = name
  }

  takeTurns(): void {}

  setPaused(paused: boolean): void {
    this.paused = paused
  }

  /** Requests wait for it since this time. */
  waitsSince(time: number): void {
    this.queued = 1
    this.oldestQueuedAt = time
  }
}

const silent = { info: () => undefined } as never
const SWAP_WAIT = 30_000

let now: number
let started: string[]
let base: Stub
let turbo: Stub
let device: SharedDevice

/** A device with turbo, the last of its models, loaded. */
beforeEach(() => {
  now = 1000
  started = []
  ;[base, turbo] = [new Stub('base'), new Stub('turbo')]
  device = new SharedDevice({
    name: 'chip',
    models: [base, turbo] as unknown as ServedModel[],
    swapWait: SWAP_WAIT,
    start: (model) => void started.push(model.name!),
    stop: () => Promise.resolve(),
    onSwap: () => undefined,
    log: silent,
    now: () => now
  })
})

const ready = (model: Stub) => device.ready(model as unknown as ServedModel)
const has = (model: Stub) => device.has(model as unknown as ServedModel)

/** A tick `ms` later, and what follows from it. */
async function tick(ms = 0): Promise<void> {
  now += ms
  device.tick()
  await new Promise(setImmediate)
}

describe('models that share a device', () => {
  it('are each loaded at the start, and each compiles its sizes before the next', async () => {
    base.capabilities = undefined
    turbo.complete = false
    await tick(100_000)
    expect(started).toEqual([])
    ready(turbo)
    expect(turbo.swapSeconds).toBe(100)
    base.waitsSince(now)
    await tick(100_000)
    expect(started).toEqual([])
    turbo.complete = true
    await tick()
    expect(started).toEqual(['base'])
  })

  it('do not wait for sizes that are compiled again, beyond SWAP_WAIT', async () => {
    ready(turbo)
    await tick()
    turbo.complete = false
    base.waitsSince(now)
    await tick(SWAP_WAIT - 1)
    expect(started).toEqual([])
    await tick(1)
    expect(started).toEqual(['base'])
  })

  it('swap at once when the loaded one has no work', async () => {
    ready(turbo)
    await tick(1)
    expect(started).toEqual([])
    base.waitsSince(now)
    await tick(1)
    expect([started, has(base), has(turbo)]).toEqual([['base'], true, false])
  })

  it('swap only when no image runs, and give the loaded one no more jobs before', async () => {
    ready(turbo)
    ;[turbo.busy, turbo.queued] = [true, 5]
    base.waitsSince(now)
    await tick(SWAP_WAIT - 1)
    expect(turbo.paused).toBe(false)
    await tick(1)
    expect([turbo.paused, started]).toEqual([true, []])
    await tick(SWAP_WAIT)
    expect(started).toEqual([])
    turbo.busy = false
    await tick()
    expect([turbo.paused, started]).toEqual([false, ['base']])
  })

  it('keep the device if the waiting request goes away', async () => {
    ready(turbo)
    ;[turbo.busy, turbo.queued] = [true, 5]
    base.waitsSince(now)
    await tick(SWAP_WAIT)
    expect(turbo.paused).toBe(true)
    base.oldestQueuedAt = undefined
    await tick()
    expect([turbo.paused, started]).toEqual([false, []])
  })

  it('alternate every SWAP_WAIT at most, however long requests have waited', async () => {
    ready(turbo)
    ;[base, turbo].forEach((model) => model.waitsSince(0))
    await tick(SWAP_WAIT)
    expect(started).toEqual(['base'])
    now += 12_000
    ready(base)
    await tick(SWAP_WAIT - 1)
    expect(started).toEqual(['base'])
    await tick(1)
    expect(started).toEqual(['base', 'turbo'])
  })

  it('let one that loads slowly finish loading, and one that cannot be loaded try again later', async () => {
    base.waitsSince(0)
    await tick(10 * SWAP_WAIT)
    expect(started).toEqual([])
    device.died(turbo as unknown as ServedModel)
    await tick()
    expect(started).toEqual(['base'])
    expect(device.expects(turbo as unknown as ServedModel)).toBe(false)
    ready(base)
    base.oldestQueuedAt = undefined
    base.queued = 0
    turbo.waitsSince(now)
    await tick(59_000)
    expect(started).toEqual(['base'])
    await tick(1000)
    expect(started).toEqual(['base', 'turbo'])
  })

  it('give up one whose worker dies while it compiles its sizes for the first time', async () => {
    turbo.complete = false
    ready(turbo)
    base.waitsSince(now)
    await tick(SWAP_WAIT)
    expect(started).toEqual([])
    device.died(turbo as unknown as ServedModel)
    await tick()
    expect(started).toEqual(['base'])
  })

  it('forecast the time until the device is free, and the swap', async () => {
    const delayOf = (model: Stub) => device.delayOf(model as unknown as ServedModel)
    ;[base.swapSeconds, turbo.swapSeconds] = [20, 10]
    now += 4000
    expect([delayOf(turbo), delayOf(base)]).toEqual([6, 26])
    ready(turbo)
    turbo.backlogSeconds = 5
    expect([delayOf(turbo), delayOf(base)]).toEqual([0, 25])
    turbo.backlogSeconds = 500
    expect(delayOf(base)).toBe(SWAP_WAIT / 1000 + 20)
  })
})
