import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import ipaddr from 'ipaddr.js'
import { onTestFinished } from 'vitest'

const [A, AAAA, IN] = [1, 28, 1]
/** Where the question is in a message, as answers refer to it. */
const QUESTION = 0xc00c

export interface NameServer {
  /** 127.0.0.1:PORT */
  address: string
  /** Names that it was asked for IPv4 addresses of. */
  asked: string[]
}

/**
 * Starts a DNS server, and stops it after the test.
 *
 * @param addressesOf what a name means when it is asked for the nth time, from 1; undefined for no answer at all
 */
export async function startDns(addressesOf: (name: string, nth: number) => string[] | undefined): Promise<NameServer> {
  const asked: string[] = []
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    const { name, type, end } = questionOf(query)
    if (type === A) asked.push(name)
    const addresses = addressesOf(name, asked.filter((each) => each === name).length)
    if (addresses === undefined) return
    const wanted = addresses.map((each) => Buffer.from(ipaddr.parse(each).toByteArray()))
    const answers = wanted.filter(({ length }) => length === (type === A ? 4 : type === AAAA ? 16 : -1))
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    // An answer; no such name, if it has no address at all.
    head.writeUInt16BE(addresses.length === 0 ? 0x8183 : 0x8180, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(answers.length, 6)
    const records = answers.map((data) => {
      const record = Buffer.alloc(12)
      for (const [at, value] of [QUESTION, type, IN, 0, 0, data.length].entries()) record.writeUInt16BE(value, 2 * at)
      return Buffer.concat([record, data])
    })
    socket.send(Buffer.concat([head, query.subarray(12, end), ...records]), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  onTestFinished(() => void socket.close())
  return { address: `127.0.0.1:${socket.address().port}`, asked }
}

function questionOf(query: Buffer): { name: string; type: number; end: number } {
  const labels: string[] = []
  let at = 12
  for (let length = query[at]!; length > 0; length = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length))
    at += 1 + length
  }
  return { name: labels.join('.').toLowerCase(), type: query.readUInt16BE(at + 1), end: at + 5 }
}
