/** One server-sent event with its parsed data. */
export interface ServerEvent {
  id: number
  event: string
  data: Record<string, unknown>
}

/** Yields a response's events as they arrive, without comments. */
export async function* eventsOf(response: Response): AsyncGenerator<ServerEvent> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    text += value
    const blocks = text.split('\n\n')
    text = blocks.pop()!
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])
      )
      if (fields['event'] === undefined) continue
      yield {
        id: Number(fields['id']),
        event: fields['event'],
        data: JSON.parse(fields['data']!) as Record<string, unknown>
      }
    }
  }
}

/** Reads all events of a response to its end. */
export function allEvents(response: Response): Promise<ServerEvent[]> {
  return collect(eventsOf(response))
}

/** Array.fromAsync, which Node 20 lacks. */
async function collect<T>(values: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const value of values) all.push(value)
  return all
}
