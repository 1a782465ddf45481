import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { GenerateRequest } from '../../../src/webapp/page/api/types.js'
import { MOST_WAITING, Queue } from '../../../src/webapp/page/model/queue.js'

const request = (prompt: string): GenerateRequest => ({ prompt })

describe('the queue', () => {
  it('starts at once when idle, then runs one entry after the other', () => {
    const { queue, begun } = watched()
    for (const prompt of ['a', 'b', 'c']) queue.add(request(prompt))
    expect(begun).toEqual(['a by hand'])
    queue.finished()
    queue.finished()
    queue.finished()
    expect(begun).toEqual(['a by hand', 'b', 'c'])
    queue.add(request('d'))
    expect(begun.at(-1)).toBe('d by hand')
  })

  it('waits for the model even if the visitor adds an entry', () => {
    const { queue, begun } = watched()
    queue.hold('model')
    queue.add(request('a'))
    queue.hold('trouble')
    queue.add(request('b'))
    expect([...queue.holds]).toEqual(['model'])
    expect(begun).toEqual([])
    queue.release('model')
    expect(begun).toEqual(['a'])
  })

  it('retries a failed entry before all others', () => {
    const { queue, begun } = watched()
    for (const prompt of ['a', 'b']) queue.add(request(prompt))
    queue.hold('trouble')
    queue.finished()
    expect(begun).toEqual(['a by hand'])
    queue.again({ id: 1, request: request('a'), files: {} }, false)
    queue.finished()
    expect(begun).toEqual(['a by hand', 'a', 'b'])
  })

  it('refuses entries above its limit', () => {
    const { queue } = watched()
    queue.hold('model')
    const taken = Array.from({ length: MOST_WAITING + 3 }, (_, index) => queue.add(request(String(index))))
    expect(taken.filter(Boolean)).toHaveLength(MOST_WAITING)
    expect(queue.waiting).toHaveLength(MOST_WAITING)
  })

  it('starts every entry that is not cancelled exactly once, in order, one at a time', () => {
    const step = fc.oneof(
      fc.constant('add' as const),
      fc.constant('finish' as const),
      fc.constant('hold' as const),
      fc.constant('release' as const),
      fc.nat(20).map((id) => ({ cancel: id }))
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { queue, begun } = watched()
        const cancelled = new Set<string>()
        let [asked, ended] = [0, 0]
        for (const now of steps) {
          if (now === 'add') queue.add(request(String(++asked)))
          else if (now === 'hold') queue.hold('model')
          else if (now === 'release') queue.release('model')
          else if (now !== 'finish') {
            for (const { id } of queue.waiting.filter(({ id }) => id === now.cancel)) cancelled.add(String(id))
            queue.cancel(now.cancel)
          } else if (begun.length > ended) {
            ended++
            queue.finished()
          }
          expect(begun.length - ended).toBeLessThanOrEqual(1)
        }
        queue.release('model')
        while (begun.length > ended) {
          ended++
          queue.finished()
        }
        const expected = Array.from({ length: asked }, (_, index) => String(index + 1)).filter(
          (prompt) => !cancelled.has(prompt)
        )
        expect(begun.map((prompt) => prompt.replace(' by hand', ''))).toEqual(expected)
      })
    )
  })
})

function watched(): { queue: Queue; begun: string[] } {
  const queue = new Queue()
  const begun: string[] = []
  queue.on('begin', ({ entry, byHand }) => begun.push(`${entry.request.prompt}${byHand ? ' by hand' : ''}`))
  return { queue, begun }
}
