import { describe, expect, it } from 'vitest'
import { OptionError, HelpRequested } from '../../src/options.js'
import { loadWebOptions, options, webHelp } from '../../src/webapp/web-options.js'
import { startProcess } from '../support/process.js'
import { idle, startReadyServer } from '../support/server.js'
import { until } from '../support/wait.js'

describe('loadWebOptions', () => {
  it('defaults to port 5000 and the gateway on this machine', () => {
    expect(loadWebOptions([], {})).toMatchObject({ host: 'localhost', port: 5000, apiKey: undefined })
    expect(loadWebOptions([], {}).serverUrl.href).toBe('http://localhost:8000/')
    expect(loadWebOptions(['--port', '8080'], { SERVER_URL: 'http://gateway:80', API_KEY: 'k' })).toMatchObject({
      port: 8080,
      apiKey: 'k'
    })
  })

  it.each([
    [{ SERVER_URL: 'gateway:8000' }, /SERVER_URL="gateway:8000": must be an address/],
    [{ SERVER_URL: 'nowhere' }, /must be an address/],
    [{ API_KEY: 'two words' }, /API_KEY.*without spaces/],
    [{ PORT: '-1' }, /PORT="-1"/]
  ])('names the error in %j', (env, message) => {
    expect(() => loadWebOptions([], env)).toThrow(OptionError)
    expect(() => loadWebOptions([], env)).toThrow(message)
  })

  it('keeps the key out of errors', () => {
    expect(() => loadWebOptions([], { API_KEY: 'my key' })).toThrow(/^API_KEY: must be ASCII/)
  })

  it('has help for every option', () => {
    expect(() => loadWebOptions(['--help'], {})).toThrow(HelpRequested)
    for (const { env, doc } of Object.values(options)) {
      expect(webHelp()).toContain(`      ${env}`)
      expect(webHelp()).toContain(doc)
    }
  })
})

const address = /the page is on (http:\/\/[\d.]+:\d+)/

describe('the process', () => {
  it('reports when it is ready, serves the page, and exits cleanly on SIGTERM', async () => {
    const web = startProcess('dist/webapp/main.js', [])
    await until("the page's process is ready", () => address.test(web.output()))
    const page = await fetch(address.exec(web.output())![1]!)
    expect(page.status).toBe(200)
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
    web.child.kill('SIGTERM')
    expect(await web.exit).toEqual({ code: 0, signal: null })
  })

  it('finishes answers after SIGTERM, and cuts off those above DRAIN_TIMEOUT', async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 20' })
    const web = startProcess('dist/webapp/main.js', [], { SERVER_URL: server.url, DRAIN_TIMEOUT: '2' })
    await until("the page's process is ready", () => address.test(web.output()))
    const ask = (steps: number) =>
      fetch(`${address.exec(web.output())![1]}/generate`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ prompt: 'x', num_inference_steps: steps })
      })
    const [quick, slow] = [ask(30).then((answer) => answer.status), ask(1000)]
    const cut = slow.then(
      () => false,
      () => true
    )
    await until('two requests are in flight', () => server.service.ledger.inFlight === 2)
    web.child.kill('SIGTERM')
    expect(await quick).toBe(200)
    expect(await cut).toBe(true)
    expect(await web.exit).toEqual({ code: 0, signal: null })
    await idle(server)
  })

  it('says in one line why it cannot start', async () => {
    const web = startProcess('dist/webapp/main.js', ['--server-url', 'nowhere'])
    expect((await web.exit).code).toBe(2)
    expect(web.output()).toMatch(
      /^easel-web: SERVER_URL="nowhere": must be an address such as http:\/\/gateway:8000\n$/
    )
  })
})
