import { Dealer } from 'zeromq'
import { expect, it } from 'vitest'
import { KINDS, PROTOCOL_VERSION, STATES_VERSION } from '../../src/workers/protocol.js'
import { idleHeartbeat } from '../support/heartbeat.mjs'
import { generate, metric, type RunningServer, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

/** The version after the last one. */
const FUTURE_VERSION = STATES_VERSION + 1

function stranger(server: RunningServer, routingId: string): Dealer {
  const dealer = new Dealer({ routingId, linger: 0 })
  dealer.connect(server.endpoint)
  return dealer
}

it('garbage from a stranger is counted, logged once, and affects nobody else', async () => {
  const server = await startReadyServer()
  const dealer = stranger(server, 'mallory')
  for (let index = 0; index < 50; index++) await dealer.send([Buffer.from([index, index]), 'garbage'])
  await until('all messages are counted', async () => (await metric(server, 'easel_malformed_messages_total')) === 50)
  expect(server.logs.filter(({ peer }) => peer === '"mallory"')).toHaveLength(1)
  expect((await generate(server, { prompt: 'x' })).status).toBe(200)
  dealer.close()
})

it('refuses a worker of another protocol version and tells it why', async () => {
  const server = await startReadyServer()
  const dealer = stranger(server, 'from-the-future')
  await dealer.send([Buffer.from([KINDS.HELLO, FUTURE_VERSION]), '{}'])
  const [tag, header] = await dealer.receive()
  expect([...tag!]).toEqual([KINDS.REFUSED, PROTOCOL_VERSION])
  expect(JSON.parse(header!.toString())).toMatchObject({
    code: 'protocol',
    message: `the worker speaks protocol version ${FUTURE_VERSION}, this gateway reads ${PROTOCOL_VERSION} and ${STATES_VERSION}`
  })
  expect(server.pool.state.workers.map(({ name }) => name)).toEqual(['worker-0'])
  dealer.close()
})

it('answers a heartbeat of an unknown worker with a ping, so that it sends HELLO', async () => {
  const server = await startReadyServer()
  const dealer = stranger(server, 'forgotten')
  const heartbeat = idleHeartbeat('old')
  await dealer.send([Buffer.from([KINDS.HEARTBEAT, PROTOCOL_VERSION]), JSON.stringify(heartbeat)])
  const [tag, header] = await dealer.receive()
  expect([...tag!]).toEqual([KINDS.PING, PROTOCOL_VERSION])
  expect((JSON.parse(header!.toString()) as { session: string }).session).not.toBe('old')
  dealer.close()
})

it('a worker that repeats HELLO before the answer arrives stays the same worker', async () => {
  const server = await startReadyServer()
  const { hello } = server.pool.state.workers[0]!
  const dealer = stranger(server, 'eager')
  const message = [
    Buffer.from([KINDS.HELLO, PROTOCOL_VERSION]),
    JSON.stringify({ ...hello, worker: 'eager', pid: 4711 })
  ]
  await dealer.send(message)
  await dealer.send(message)
  const answers = [await dealer.receive(), await dealer.receive()]
  const sessions = answers.map(([tag, header]) => [
    tag![0],
    (JSON.parse(header!.toString()) as { session: string }).session
  ])
  expect(sessions[0]![0]).toBe(KINDS.WELCOME)
  expect(sessions[1]).toEqual(sessions[0])
  expect(await metric(server, 'easel_workers_lost_total')).toBe(0)
  dealer.close()
})
