import { describe, expect, it } from 'vitest'
import { AddressGuard, parseNetworks } from '../../src/webhooks/addresses.js'
import { startDns } from '../support/dns.js'

const NEVER = new AbortController().signal

const guard = (networks = '') => new AddressGuard(parseNetworks(networks))

describe('a guard of addresses', () => {
  it.each([
    ['of the internet', '8.8.8.8', '1.1.1.1', '100.63.255.255', '172.32.0.1', '2606:4700::1111', '2a00:1450::1'],
    ['of IPv4, mapped or behind NAT64', '::ffff:8.8.8.8', '64:ff9b::8.8.8.8', '64:ff9b::808:808']
  ])('lets through those %s', (_what, ...addresses) => {
    for (const address of addresses) expect(guard().allows(address), address).toBe(true)
  })

  it.each([
    ['private', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.0.1', 'fc00::1', 'fd12:3456::1'],
    ['of this machine', '127.0.0.1', '127.255.0.1', '0.0.0.0', '0.1.2.3', '::1', '::', '::7f00:1', '::127.0.0.1'],
    ['link-local', '169.254.0.1', 'fe80::1', 'fe80::1%eth0', 'febf::1', 'fec0::1'],
    ['of metadata servers', '169.254.169.254', 'fd00:ec2::254', 'fd20:ce::254', '100.100.100.200', '192.0.0.192'],
    ["of a carrier's NAT", '100.64.0.1', '100.127.255.255'],
    ['mapped', '::ffff:10.0.0.1', '::ffff:127.0.0.1', '::ffff:7f00:1', '::ffff:169.254.169.254'],
    ['behind NAT64', '64:ff9b::10.0.0.1', '64:ff9b::a9fe:a9fe', '64:ff9b:1::8.8.8.8'],
    ['in tunnels', '2002:7f00:1::', '2002:a00:1::1', '2001:0:a00:1::1', '::ffff:0:127.0.0.1'],
    [
      'reserved',
      '192.0.2.1',
      '198.18.0.1',
      '198.51.100.1',
      '203.0.113.1',
      '240.0.0.1',
      '255.255.255.255',
      '2001:db8::1'
    ],
    ['of groups', '224.0.0.1', '239.255.255.255', 'ff02::1'],
    ['that nobody has', '100::1', '4000::1', '5f00::1', 'e000::1'],
    ['that are none', '', 'localhost', '1.2.3', '1.2.3.4.5', '8.8.8.8/32', '[::1]']
  ])('refuses those that are %s', (_what, ...addresses) => {
    for (const address of addresses) expect(guard().allows(address), address).toBe(false)
  })

  it('lets through networks that the operator named, and not beside them', () => {
    const named = guard('10.1.0.0/16 fd00:1::/32 127.0.0.1/32')
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '64:ff9b::10.1.2.3', 'fd00:1::5', '127.0.0.1'])
      expect(named.allows(address), address).toBe(true)
    for (const address of ['10.2.0.1', 'fd00:2::1', '127.0.0.2', '::1'])
      expect(named.allows(address), address).toBe(false)
  })

  it('lets nothing through to metadata servers, whatever the operator named', () => {
    const all = guard('0.0.0.0/0 ::/0')
    expect(all.allows('10.0.0.1')).toBe(true)
    for (const address of ['169.254.169.254', 'fe80::1', '::ffff:169.254.169.254'])
      expect(all.allows(address), address).toBe(false)
  })

  it.each(['10.0.0.1', '10.0.0.0/33', 'x/8', '/8'])('does not take %s for a network', (network) =>
    expect(() => parseNetworks(network)).toThrow('write it like 10.0.0.0/8')
  )

  it('leaves out of what a name means the addresses that it refuses', async () => {
    const all = ['10.0.0.1', '8.8.8.8', '::1', '2606:4700::1111']
    const { address } = await startDns((name) => (name === 'a.example' ? all : []))
    const look = (name: string, networks: string, every: boolean) =>
      new Promise<unknown>((resolve) => {
        const lookup = new AddressGuard(parseNetworks(networks), [address]).lookup(NEVER)
        lookup(name, { all: every }, (error, found) => resolve(error ?? found))
      })
    expect(await look('a.example', '', true)).toEqual([
      { address: '8.8.8.8', family: 4 },
      { address: '2606:4700::1111', family: 6 }
    ])
    expect(await look('a.example', '', false)).toBe('8.8.8.8')
    expect(((await look('a.example', '10.0.0.0/8 ::1/128', true)) as object[]).length).toBe(4)
    expect(await look('none.example', '', true)).toMatchObject({ code: 'ENOTFOUND' })
  })
})
