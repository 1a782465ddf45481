import fc from 'fast-check'
import { expect, it } from 'vitest'
import { EaselError } from '../../src/errors.js'
import { Places } from '../../src/jobs/places.js'
import type { Place, SharedPlaces } from '../../src/jobs/shared.js'

const MOST = 3
const LIMITED = { scope: 'team', concurrency: MOST }

/** What happens to a command on its way to the store. */
type Way = 'answered' | 'lost' | 'answer lost'

const away = () => new EaselError('JOB_STORE_UNAVAILABLE')

/** A gateway with requests of one key, whose commands reach the store in order, when the test says so. */
class Gateway {
  inFlight = 0
  refused = 0
  readonly places: Places
  readonly #commands: ((way: Way) => void)[] = []
  #listener = (_scope: string): void => undefined
  #back = (): void => undefined

  constructor(taken: Set<string>) {
    const later = <T>(act: () => T) =>
      new Promise<T>((resolve, reject) =>
        this.#commands.push((way) => {
          const value = way === 'lost' ? undefined : act()
          if (way === 'answered') resolve(value as T)
          else reject(away())
        })
      )
    const each = (places: readonly Place[], act: (name: string) => void) =>
      places.length === 0 ? Promise.resolve() : later(() => places.forEach(({ name }) => act(name)))
    const shared: SharedPlaces = {
      lease: 1_000_000,
      take: ({ name }, most) => later(() => taken.has(name) || (taken.size < most && taken.add(name).has(name))),
      free: (_scope, most) => later(() => taken.size < most),
      keep: (places) => each(places, (name) => taken.add(name)),
      leave: (places) => each(places, (name) => taken.delete(name))
    }
    this.places = new Places({
      store: {
        shared: { places: shared },
        onChange: (listener) => {
          this.#back = () => listener(undefined, true)
          return () => undefined
        }
      },
      service: {
        inFlightOf: () => this.inFlight,
        onInFlight: (listener) => (this.#listener = listener),
        counts: () => true,
        overConcurrency: () => new EaselError('CONCURRENCY_LIMITED')
      }
    })
  }

  get waiting(): number {
    return this.#commands.length
  }

  /** @param wrong whether it is refused although it has a place */
  ask(wrong: boolean): void {
    const submit = () => {
      if (wrong) throw new EaselError('INVALID_REQUEST')
      this.#change(1)
    }
    this.places.during(undefined, LIMITED, submit).catch(({ code }: EaselError) => {
      if (code === 'CONCURRENCY_LIMITED') this.refused += 1
    })
  }

  end(): void {
    if (this.inFlight > 0) this.#change(-1)
  }

  keep(): void {
    this.#back()
  }

  deliver(way: Way): void {
    this.#commands.shift()?.(way)
  }

  #change(by: number): void {
    this.inFlight += by
    this.#listener('team')
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve))

type Act = { at: number; do: 'ask' | 'ask wrongly' | 'end' | 'keep' | 'deliver'; way: Way }

const acts = (...ways: Way[]) =>
  fc.array(
    fc.record({
      at: fc.nat({ max: 1 }),
      do: fc.constantFrom<Act['do'][]>('ask', 'ask wrongly', 'end', 'keep', 'deliver', 'deliver'),
      way: fc.constantFrom(...ways)
    }),
    { maxLength: 60 }
  )

async function play(all: readonly Act[], check: (gateways: readonly Gateway[]) => void): Promise<void> {
  const taken = new Set<string>()
  const gateways = [new Gateway(taken), new Gateway(taken)]
  for (const { at, do: what, way } of all) {
    const gateway = gateways[at]!
    if (what === 'end') gateway.end()
    else if (what === 'keep') gateway.keep()
    else if (what === 'deliver') gateway.deliver(way)
    else gateway.ask(what === 'ask wrongly')
    await settled()
    check(gateways)
  }
  const deliverAll = async () => {
    while (gateways.some(({ waiting }) => waiting > 0)) {
      for (const gateway of gateways) gateway.deliver('answered')
      await settled()
    }
  }
  await deliverAll()
  check(gateways)
  // The store answers again, which makes what it has true.
  for (const gateway of gateways) gateway.keep()
  await deliverAll()
  expect(taken.size).toBe(gateways.reduce((sum, { inFlight }) => sum + inFlight, 0))
  for (const gateway of gateways) while (gateway.inFlight > 0) gateway.end()
  await deliverAll()
  expect([...taken]).toEqual([])
  const before = gateways.map(({ refused }) => refused)
  for (const _ of Array(MOST)) gateways[0]!.ask(false)
  await deliverAll()
  expect([gateways[0]!.inFlight, gateways[0]!.refused]).toEqual([MOST, before[0]])
  for (const gateway of gateways) await Promise.all([gateway.places.close(), deliverAll()])
  expect([...taken]).toEqual([])
}

it('lets in no more than the limit at both gateways, in whatever order the store gets to know of requests', async () => {
  await fc.assert(
    fc.asyncProperty(acts('answered'), (all) =>
      play(all, ([one, other]) => expect(one!.inFlight + other!.inFlight).toBeLessThanOrEqual(MOST))
    )
  )
})

it('lets in no more than the limit at each while commands are lost, and agrees with the store when it is back', async () => {
  await fc.assert(
    fc.asyncProperty(acts('answered', 'lost', 'answer lost'), (all) =>
      play(all, (gateways) => {
        for (const { inFlight } of gateways) expect(inFlight).toBeLessThanOrEqual(MOST)
      })
    ),
    { numRuns: 300 }
  )
})
