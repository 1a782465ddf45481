import OpenAI, { toFile } from 'openai'
import type { RunningServer } from './server.js'
import { until } from './wait.js'

export const ENDPOINT = '/v1/images/generations'

export interface ResultLine {
  id: string
  custom_id: string
  response: {
    status_code: number
    request_id: string
    body: { data?: { b64_json?: string; url?: string }[]; created?: number; size?: string; error?: { code: string } }
  } | null
  error: { code: string; message: string } | null
}

export function clientOf({ url }: Pick<RunningServer, 'url'>, apiKey = 'none'): OpenAI {
  return new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 })
}

/** A line of a batch. Two steps take next to no time. */
export function lineOf(id: string, body: object = {}): object {
  const usual = { prompt: `the image ${id}`, num_inference_steps: 2 }
  return { custom_id: id, method: 'POST', url: ENDPOINT, body: { ...usual, ...body } }
}

export function numbered(count: number, body: object = {}): object[] {
  return Array.from({ length: count }, (_, index) => lineOf(`line-${index}`, body))
}

export async function upload(client: OpenAI, lines: readonly (object | string)[]): Promise<string> {
  const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n')
  const { id } = await client.files.create({ file: await toFile(Buffer.from(text), 'r.jsonl'), purpose: 'batch' })
  return id
}

export async function create(
  client: OpenAI,
  lines: readonly (object | string)[],
  more: Partial<OpenAI.BatchCreateParams> = {}
): Promise<OpenAI.Batch> {
  const input_file_id = await upload(client, lines)
  return client.batches.create({ input_file_id, endpoint: ENDPOINT, completion_window: '24h', ...more })
}

const ENDS: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'expired'])

export async function ended(client: OpenAI, id: string): Promise<OpenAI.Batch> {
  let batch: OpenAI.Batch | undefined
  await until('the batch has ended', async () => {
    batch = await client.batches.retrieve(id).catch(() => undefined)
    return batch !== undefined && ENDS.has(batch.status)
  })
  return batch!
}

export async function linesAt(client: OpenAI, file: string | undefined): Promise<ResultLine[]> {
  const text = await (await client.files.content(file!)).text()
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as ResultLine)
}

export const fileOf = (line: ResultLine) => Buffer.from(line.response!.body.data![0]!.b64_json!, 'base64')
