/** A message of an event stream. */
export interface SseMessage {
  /** The id of this message, or else of the last message that had one. */
  id: string
  event: string
  data: string
}

/**
 * Reads a stream of server-sent events. Needed because `EventSource` can only GET.
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

/** Splits into lines at LF, CRLF or CR. Drops an unterminated last line: the stream broke there. */
async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  const reader = body.getReader()
  const parts: string[] = []
  // A CR at the end of a chunk and an LF at the start of the next form one line ending.
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
      // A picture's line spans many chunks. Join them once, at its end, to stay linear.
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
