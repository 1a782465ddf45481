import { randomUUID } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, it, onTestFinished } from 'vitest'
import { Dealer } from 'zeromq'
import { openSocket } from '../../src/workers/socket.js'
import { until } from '../support/wait.js'

const MESSAGES = 300

it('leaves turns of the event loop to other work while many messages wait', async () => {
  let turn = 0
  /** Messages by the turn in which they came. */
  const came = new Map<number, number>()
  let received = 0
  const { send } = await open(() => {
    work(1)
    received += 1
    came.set(turn, (came.get(turn) ?? 0) + 1)
  })
  const count = async (): Promise<void> => {
    turn += 1
    if (received < MESSAGES) await nextTurn().then(count)
  }
  const counter = count()
  await send(MESSAGES)
  await counter
  expect(Math.max(...came.values())).toBeLessThanOrEqual(10)
})

it('knows when it has read what waited, however long that takes', async () => {
  let received = 0
  const { socket, send } = await open(() => {
    work(3)
    received += 1
  })
  await send(MESSAGES)
  await until('the first messages came', () => received > 0)
  await socket.received()
  expect(received).toBe(MESSAGES)
})

/** Opens a socket, and a peer that sends messages. @param onMessage called for each message */
async function open(onMessage: () => void) {
  const endpoint = `ipc://${join(tmpdir(), `easel-socket-${randomUUID()}.sock`)}`
  const socket = await openSocket({ endpoint, onMessage, onUnreachable: () => undefined })
  onTestFinished(() => socket.close())
  const dealer = new Dealer({ linger: 0, sendHighWaterMark: 0 })
  onTestFinished(() => dealer.close())
  dealer.connect(endpoint)
  const send = async (messages: number) => {
    for (let sent = 0; sent < messages; sent += 1) await dealer.send('a message')
  }
  return { socket, send }
}

/** Keeps the event loop busy. @param ms for how long */
function work(ms: number): void {
  const end = performance.now() + ms
  while (performance.now() < end);
}
