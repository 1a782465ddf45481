import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readSse, type SseMessage } from '../../../src/webapp/page/api/sse.js'

describe('readSse', () => {
  it('parses fields, joins data lines, keeps the last id, and ignores comments', async () => {
    const text =
      ': keep-alive\n\nid: 1\nevent: progress\ndata: {"a":\ndata: 1}\n\ndata:bare\n\nid\nevent: end\ndata: \n\n'
    expect(await read([text])).toEqual([
      { id: '1', event: 'progress', data: '{"a":\n1}' },
      { id: '1', event: 'message', data: 'bare' },
      { id: '', event: 'end', data: '' }
    ])
  })

  it('drops an incomplete message', async () => {
    expect(await read(['data: whole\n\nid: 7\ndata: hal'])).toEqual([{ id: '', event: 'message', data: 'whole' }])
    expect(await read(['data: no empty line after it\n'])).toEqual([])
  })

  it('gives the same result for any chunking and any line endings', async () => {
    const message = fc.record({
      id: fc.nat().map(String),
      event: fc.constantFrom('progress', 'image'),
      data: fc.string({ unit: 'binary' }).map((text) => text.replaceAll(/[\r\n]/g, ' '))
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(message, { maxLength: 5 }),
        fc.constantFrom('\n', '\r', '\r\n'),
        fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
        async (messages, end, sizes) => {
          const text = messages
            .map(({ id, event, data }) => `id: ${id}${end}event: ${event}${end}data: ${data}${end}${end}`)
            .join('')
          const bytes = new TextEncoder().encode(text)
          const chunks: Uint8Array[] = []
          for (let at = 0; at < bytes.length;) {
            const size = sizes.next().value as number
            chunks.push(bytes.subarray(at, at + size))
            at += size
          }
          const whole = new TextDecoder().decode(bytes)
          expect(await read(chunks)).toEqual(await read([whole]))
          expect((await read(chunks)).map(({ event }) => event)).toEqual(messages.map(({ event }) => event))
        }
      )
    )
  })
})

async function read(chunks: (string | Uint8Array)[]): Promise<SseMessage[]> {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks)
        controller.enqueue(typeof chunk === 'string' ? new TextEncoder().encode(chunk) : chunk)
      controller.close()
    }
  })
  const messages: SseMessage[] = []
  for await (const message of readSse(body)) messages.push(message)
  return messages
}
