import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { generate, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

interface Span {
  traceId: string
  spanId: string
  parentSpanId?: string
  name: string
  startTimeUnixNano: string
  endTimeUnixNano: string
  status: { code?: number }
  attributes: { key: string; value: { stringValue?: string; intValue?: number } }[]
}

/** A collector that records the spans it receives. */
async function startCollector(): Promise<{ endpoint: string; spans: Span[]; paths: Set<string> }> {
  const spans: Span[] = []
  const paths = new Set<string>()
  const server = createServer((request, response) => {
    paths.add(request.url!)
    let body = ''
    request.on('data', (chunk) => (body += chunk))
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(body) as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }
      spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)))
      response.setHeader('content-type', 'application/json').end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  return { endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, paths }
}

const traceId = '0af7651916cd43dd8448eb211c80319c'
const parent = 'b7ad6b7169203331'
const headers = { traceparent: `00-${traceId}-${parent}-01`, 'x-request-id': 'traced' }

it("exports a request as a span in its client's trace, with its stages as children", async () => {
  const collector = await startCollector()
  const server = await startReadyServer({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    WORKER_ARGS: '--fake-step-ms 5'
  })
  expect((await generate(server, { prompt: 'hushhush' }, { headers })).status).toBe(200)
  await server.close(0)
  expect([...collector.paths]).toEqual(['/v1/traces'])
  const request = collector.spans.find(({ name }) => name === 'POST /generate')!
  expect(request).toMatchObject({ traceId, parentSpanId: parent })
  const attributes = Object.fromEntries(request.attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
  expect(attributes).toMatchObject({
    'http.request.method': 'POST',
    'http.route': '/generate',
    'http.response.status_code': 200,
    'easel.request_id': 'traced'
  })
  const stages = collector.spans.filter(({ parentSpanId }) => parentSpanId === request.spanId)
  const inOrder = stages.toSorted((a, b) =>
    Number(
      BigInt(a.startTimeUnixNano) - BigInt(b.startTimeUnixNano) || BigInt(a.endTimeUnixNano) - BigInt(b.endTimeUnixNano)
    )
  )
  expect(inOrder.map(({ name }) => name)).toEqual(['queue', 'encode', 'denoise', 'decode', 'file'])
  for (const stage of stages) expect(stage.traceId).toBe(traceId)
  expect(JSON.stringify(collector.spans)).not.toContain('hushhush')
})

it('marks the span of a 5xx as an error, but not that of a 4xx', async () => {
  const collector = await startCollector()
  const server = await startReadyServer({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    WORKER_ARGS: '--fake-faults raise:1@1'
  })
  await generate(server, { prompt: 'x', seed: 1 })
  await generate(server, { prompt: 'x', scheduler: 'magic' })
  await server.close(0)
  const codes = collector.spans
    .filter(({ name }) => name === 'POST /generate')
    .map(({ attributes, status }) => [
      attributes.find(({ key }) => key === 'http.response.status_code')!.value.intValue,
      status.code
    ])
  // 2 is ERROR, 0 is UNSET: https://opentelemetry.io/docs/specs/otel/trace/api/#set-status
  expect(codes).toEqual([
    [500, 2],
    [400, 0]
  ])
})

it('ends the span when the client disconnects', async () => {
  const collector = await startCollector()
  const server = await startReadyServer({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    WORKER_ARGS: '--fake-step-ms 5'
  })
  const controller = new AbortController()
  const left = generate(server, { prompt: 'x', num_inference_steps: 1000 }, { headers, signal: controller.signal })
  await until('the request is accepted', () => server.service.ledger.accepted === 1)
  controller.abort()
  await expect(left).rejects.toThrow()
  await until('the request is cancelled', () => server.service.ledger.ended.cancelled === 1)
  await server.close(0)
  const spans = collector.spans.filter(({ name }) => name === 'POST /generate')
  expect(spans).toHaveLength(1)
  expect(spans[0]!.attributes).toContainEqual({ key: 'http.response.status_code', value: { intValue: 499 } })
})

it('without an exporter, still propagates the trace to the worker and to both logs', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--fake-faults raise:1@1' })
  await generate(server, { prompt: 'x', seed: 1 }, { headers })
  const lineOf = (message: string) => server.logs.find(({ msg }) => msg.includes(message))
  await until(
    'gateway and worker have logged',
    () => lineOf('POST /generate 500') !== undefined && lineOf('the engine failed') !== undefined
  )
  expect(lineOf('POST /generate 500')).toMatchObject({ trace_id: traceId, requestId: 'traced' })
  expect(String(lineOf('the engine failed')!['trace'])).toContain(traceId)
})
