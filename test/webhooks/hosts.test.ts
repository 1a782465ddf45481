import { describe, expect, it } from 'vitest'
import { isWebhookHost, parseWebhookHosts, parseWebhookUrl } from '../../src/webhooks/hosts.js'

const allowed = (url: string, hosts: string) =>
  isWebhookHost(parseWebhookUrl(url), parseWebhookHosts(hosts.split(' ').filter(Boolean)))

describe('hosts of webhooks', () => {
  it.each([
    ['https://hooks.example.com/a?b=c', 'hooks.example.com'],
    ['https://HOOKS.example.com:443/', 'hooks.example.com'],
    ['https://hooks.example.com/', 'other.example Hooks.Example.com'],
    ['https://a.example.com/', '*.example.com'],
    ['https://a.b.example.com/', '*.example.com'],
    ['https://a.example.com:8443/', '*.example.com:8443'],
    ['http://receiver.team.svc:8080/x', 'http://receiver.team.svc:8080'],
    ['http://receiver.team.svc/x', 'http://receiver.team.svc'],
    ['https://[2001:db8::1]:8443/', '[2001:db8::1]:8443'],
    ['https://xn--bcher-kva.example/', 'bücher.example'],
    // Another way to write an address is the same address.
    ['http://0x7f.1:80/', 'http://127.0.0.1']
  ])('allow %s by %s', (url, hosts) => expect(allowed(url, hosts)).toBe(true))

  it.each([
    ['https://hooks.example.com/', ''],
    ['https://example.com/', '*.example.com'],
    ['https://badexample.com/', '*.example.com'],
    ['https://a.example.com.evil.test/', '*.example.com'],
    ['https://hooks.example.com.evil.test/', 'hooks.example.com'],
    ['https://hooks.example.com./', 'hooks.example.com'],
    ['http://hooks.example.com/', 'hooks.example.com'],
    ['https://receiver.team.svc/', 'http://receiver.team.svc'],
    ['https://hooks.example.com:8443/', 'hooks.example.com'],
    ['https://hooks.example.com/', 'hooks.example.com:8443'],
    ['https://a.example.com:8443/', '*.example.com'],
    ['https://evil.test/?x=hooks.example.com', 'hooks.example.com'],
    ['https://evil.test\\@hooks.example.com/', 'hooks.example.com']
  ])('do not allow %s by %s', (url, hosts) => expect(allowed(url, hosts)).toBe(false))

  it.each([
    '',
    '*',
    'a.example\nb.example',
    '*.com',
    '*.',
    'a.*.example.com',
    'https://',
    'ftp://a.example',
    'http:a.example',
    'a.example/',
    'a.example/x',
    'a.example?x',
    'a.example#x',
    'user@a.example',
    'a.example:99999',
    '*.evil.test/example.com',
    'a\\b.example'
  ])('are not written %s', (host) =>
    expect(() => parseWebhookHosts(['a.example', host])).toThrow(/^host 2 must be written like hooks\.example\.com/)
  )
})

describe('the URL of a webhook', () => {
  it.each([
    ['', /https:/],
    ['hooks.example.com', /https:/],
    ['ftp://a.example/', /https:/],
    ['file:///etc/passwd', /https:/],
    ['javascript:alert(1)', /https:/],
    [`https://a.example/${'x'.repeat(2048)}`, /2048/],
    ['https://user:hunter2@a.example/', /user or password/],
    ['https://hunter2@a.example/', /user or password/],
    ['https://a.example/#hunter2', /fragment/]
  ])('is not %s', (url, message) => {
    expect(() => parseWebhookUrl(url)).toThrow(message)
    expect(() => parseWebhookUrl(url)).not.toThrow(/hunter2/)
  })
})
