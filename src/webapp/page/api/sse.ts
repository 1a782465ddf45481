/** One message of an event stream. */
export interface SseMessage {
  /** Of this message, or of the last one that had an id. */
  id: string
  event: string
  data: string
}

/**
 * Reads a stream of server-sent events. `EventSource` itself can only GET.
 *
 * @see https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export async function* readSse(body: ReadableStream<Uint8Array>): AsyncGenerator<SseMessage, void, undefined> {
  let message: SseMessage = { id: '', event: '', data: '' }
  for await (const line of linesOf(body)) {
    if (line === '') {
      if (message.data !== '') yield { ...message, event: message.event || 'message', data: message.data.slice(0, -1) }
      message = { id: message.id, event: '', data: '' }
      continue
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'data') message.data += `${value}\n`
    else if (field === 'event') message.event = value
    else if (field === 'id' && !value.includes('\0')) message.id = value
  }
}

/** Lines that end in LF, CRLF or CR. What follows the last line's end is no line: the stream broke off there. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  const parts: string[] = []
  // After a CR at the end of a chunk, an LF at the start of the next belongs to the same line's end.
  let afterCr = false
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return
      let text = decoder.decode(value, { stream: true })
      if (text === '') continue
      if (afterCr && text.startsWith('\n')) text = text.slice(1)
      afterCr = text.endsWith('\r')
      const pieces = text.split(/\r\n|\n|\r/)
      // A picture's line comes in many chunks: they are joined once, at its end.
      for (const piece of pieces.slice(0, -1)) {
        parts.push(piece)
        yield parts.splice(0).join('')
      }
      parts.push(pieces.at(-1)!)
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}
