import fc from 'fast-check'
import { expect, it } from 'vitest'
import { ChipLedger, type ChipSeconds, type Count, sumOf } from '../../src/workers/chip-ledger.js'

const amount = fc.double({ min: 0, max: 100, noNaN: true })
const used = fc.record({ encode: amount, denoise: amount, preview: amount, decode: amount })
const worker = fc.constantFrom('one', 'other')

type Event =
  | { what: 'charge' | 'lose'; worker: string; key: string; used: ChipSeconds }
  | { what: 'hold'; worker: string; used: ChipSeconds }
  | { what: 'settle'; key: string | undefined }
  | { what: 'work'; worker: string; seconds: number; padding: number }
  | { what: 'close'; worker: string; seen: boolean }

const events = fc.array(
  fc.oneof(
    fc.record({
      what: fc.constantFrom('charge' as const, 'lose' as const),
      worker,
      key: fc.constantFrom('a', 'b', ''),
      used
    }),
    fc.record({ what: fc.constant('hold' as const), worker, used }),
    fc.record({ what: fc.constant('settle' as const), key: fc.constantFrom('a', 'b', undefined) }),
    fc.record({ what: fc.constant('work' as const), worker, seconds: amount, padding: amount }),
    fc.record({ what: fc.constant('close' as const), worker, seen: fc.boolean() })
  ),
  { maxLength: 60 }
)

it('the lines and the work in flight are what the workers were busy, whatever happens', () => {
  fc.assert(
    fc.property(events, (list: readonly Event[]) => {
      const ledger = new ChipLedger()
      /** What each worker has counted in its session. */
      const counts = new Map<string, { session: number; count: Count | undefined; told: number }>()
      const stateOf = (name: string) => counts.get(name) ?? { session: 0, count: undefined, told: 0 }
      let closed = 0
      const held: ChipSeconds[] = []
      for (const event of list) {
        if (event.what === 'settle') {
          const share = event.key === undefined ? undefined : { key: event.key, weight: 1, priority: 'batch' as const }
          const work = held.shift()
          if (work !== undefined) ledger.settle(share, work)
          continue
        }
        const state = stateOf(event.worker)
        const session = `${state.session}`
        const share = { key: 'key' in event ? event.key : '', weight: 1, priority: 'interactive' as const }
        if (event.what === 'charge') ledger.charge(event.worker, session, share, event.used)
        if (event.what === 'lose') ledger.lose(event.worker, session, event.used)
        if (event.what === 'hold') {
          ledger.hold(event.worker, session, event.used)
          held.push(event.used)
        }
        if (event.what === 'charge' || event.what === 'lose' || event.what === 'hold')
          counts.set(event.worker, { ...state, told: state.told + sumOf(event.used) })
        if (event.what === 'work') {
          const padding = (state.count?.padding ?? 0) + event.padding
          const busy = (state.count?.busy ?? 0) + event.seconds + event.padding
          counts.set(event.worker, { ...state, count: { busy, padding } })
        }
        if (event.what === 'close') {
          ledger.close(event.worker, session, state.count)
          closed += Math.max(state.count?.busy ?? 0, state.told + (state.count?.padding ?? 0))
          counts.set(event.worker, { session: state.session + 1, count: undefined, told: 0 })
        }
        const connected = [...counts].map(([name, { session, count }]) => ({ name, session: `${session}`, count }))
        const { lines, inFlight, busy } = ledger.read(connected)
        const open = [...counts.values()].map(({ count, told }) =>
          Math.max(count?.busy ?? 0, told + (count?.padding ?? 0))
        )
        expect(busy).toBeCloseTo(closed + open.reduce((sum, each) => sum + each, 0), 6)
        expect(inFlight).toBeGreaterThanOrEqual(-1e-9)
        expect(lines.reduce((sum, { chipSeconds }) => sum + chipSeconds, inFlight)).toBeCloseTo(busy, 6)
        expect(lines.filter(({ kind }) => kind === 'padding')).toHaveLength(1)
      }
    })
  )
})

it('charges by key and kind, and what a dead worker had begun is lost', () => {
  const ledger = new ChipLedger()
  const share = { key: 'a', weight: 1, priority: 'interactive' as const }
  ledger.charge('w', '1', share, { encode: 1, denoise: 10, preview: 0, decode: 2 })
  ledger.charge('w', '1', share, { encode: 1, denoise: 20, preview: 3, decode: 2 })
  ledger.close('w', '1', { busy: 50, padding: 4 })
  const { lines, inFlight, busy } = ledger.read([])
  expect(Object.fromEntries(lines.map(({ key, kind, chipSeconds }) => [`${key} ${kind}`, chipSeconds]))).toEqual({
    'a encode': 2,
    'a denoise': 30,
    'a preview': 3,
    'a decode': 4,
    ' padding': 4,
    ' lost': 7
  })
  expect([inFlight, busy]).toEqual([0, 50])
})
