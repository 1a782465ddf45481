import type { LookupAddress } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'

type Address = ipaddr.IPv4 | ipaddr.IPv6
export type Network = readonly [address: Address, bits: number]

/** NAT64: the last four bytes are an IPv4 address. @see https://www.rfc-editor.org/rfc/rfc6052#section-2.1 */
const NAT64 = ipaddr.parseCIDR('64:ff9b::/96') as [ipaddr.IPv6, number]
/** All addresses that may be somebody's on the internet. @see https://www.iana.org/assignments/ipv6-address-space */
const GLOBAL = ipaddr.parseCIDR('2000::/3') as [ipaddr.IPv6, number]

/** ms that a DNS server may take at first, and how often it is asked. */
const DNS_MS = 2000
const DNS_TRIES = 3

/** Why a connection was not made. */
export class AddressRefused extends Error {
  readonly code = 'ADDRESS_REFUSED'
}

/** @throws Error that says how to write it */
export function parseNetworks(text: string): readonly Network[] {
  return text
    .split(/\s+/)
    .filter(Boolean)
    .map((network) => {
      if (!ipaddr.isValidCIDR(network))
        throw new Error(`${JSON.stringify(network.slice(0, 64))} is no network; write it like 10.0.0.0/8 or fd00::/8`)
      return ipaddr.parseCIDR(network)
    })
}

/** Says to which addresses connections may go: to those of the internet, and to networks that the operator named. */
export class AddressGuard {
  readonly #networks: readonly Network[]
  readonly #servers: readonly string[] | undefined

  /** @param servers of DNS; by default the machine's */
  constructor(networks: readonly Network[], servers?: readonly string[]) {
    this.#networks = networks
    this.#servers = servers
  }

  /** @param text an IP address */
  allows(text: string): boolean {
    if (isIP(text) === 0) return false
    const address = innermost(ipaddr.parse(text))
    // Where clouds tell a machine its credentials. No network of an operator has receivers there.
    if (address.range() === 'linkLocal') return false
    return isGlobal(address) || this.#networks.some((network) => contains(network, address))
  }

  /** @throws AddressRefused if the host of a URL is an IP address to which no connection may go */
  refuseLiteral(hostname: string): void {
    const address = hostname.replace(/^\[(.*)\]$/, '$1')
    if (isIP(address) !== 0 && !this.allows(address)) throw new AddressRefused()
  }

  /**
   * What a name means, without the addresses to which no connection may go. The socket connects to what it returns, so nothing
   * can change in between. Sockets do not call it for hosts that are addresses: see `refuseLiteral`.
   *
   * @param over fires when nobody needs it any more
   */
  lookup(over: AbortSignal): LookupFunction {
    return (hostname, options, callback) => {
      // Not dns.lookup: that would take threads, of which a slow DNS server could have all that everything else needs.
      const resolver = new Resolver({ timeout: DNS_MS, tries: DNS_TRIES })
      if (this.#servers !== undefined) resolver.setServers(this.#servers)
      over.addEventListener('abort', () => resolver.cancel(), { once: true })
      const answer = (addresses: readonly LookupAddress[]) => {
        const allowed = addresses.filter(({ address }) => this.allows(address))
        const [first] = allowed
        if (first === undefined) callback(new AddressRefused(), '')
        else if (options.all === true) callback(null, allowed)
        else callback(null, first.address, first.family)
      }
      addressesOf(resolver, hostname).then(
        (addresses) => setImmediate(answer, addresses),
        (error: NodeJS.ErrnoException) => setImmediate(callback, error, '')
      )
    }
  }
}

/** @throws the error of the IPv4 addresses if there are none of either kind */
async function addressesOf(resolver: Resolver, name: string): Promise<LookupAddress[]> {
  const [four, six] = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)])
  const of = (found: PromiseSettledResult<string[]>, family: 4 | 6): LookupAddress[] =>
    found.status === 'fulfilled' ? found.value.map((address) => ({ address, family })) : []
  const all = [...of(four, 4), ...of(six, 6)]
  if (all.length === 0 && four.status === 'rejected') throw four.reason
  return all
}

/** The IPv4 address that an IPv6 one stands for, if it does. */
function innermost(address: Address): Address {
  if (!(address instanceof ipaddr.IPv6)) return address
  if (address.isIPv4MappedAddress()) return address.toIPv4Address()
  return address.match(NAT64) ? new ipaddr.IPv4(address.toByteArray().slice(12)) : address
}

function isGlobal(address: Address): boolean {
  return address.range() === 'unicast' && (!(address instanceof ipaddr.IPv6) || address.match(GLOBAL))
}

function contains([network, bits]: Network, address: Address): boolean {
  if (network instanceof ipaddr.IPv6) return address instanceof ipaddr.IPv6 && address.match(network, bits)
  return address instanceof ipaddr.IPv4 && address.match(network, bits)
}
