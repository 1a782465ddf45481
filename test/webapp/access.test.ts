import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { idle, startReadyServer } from '../support/server.js'
import { startWeb } from '../support/web.js'
import { useBrowser } from './support/visitor.js'

const enter = useBrowser()
const KEY = 'a-key-for-the-tests'

describe('a server that requires a key', () => {
  it('makes pictures once the key is entered, which only this tab remembers', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile() })
    const visitor = await enter(server.url)
    await visitor.ready()
    const dialog = visitor.page.getByRole('dialog', { name: 'Access key' })
    const give = async (key: string) => {
      await dialog.getByLabel('Key', { exact: true }).fill(key)
      await dialog.getByRole('button', { name: 'Use this key' }).click()
    }
    await visitor.paint({ prompt: 'behind a door', num_inference_steps: 2 })
    await dialog.waitFor()
    await give('two words')
    await visitor.sees(dialog, /no spaces/)
    await give('a-key-of-somebody-else')
    await visitor.sees(dialog, /does not accept this key/)
    await give(KEY)
    await visitor.picture.waitFor()

    await visitor.open()
    await visitor.ready()
    await visitor.paint({ prompt: 'again', num_inference_steps: 2 })
    await visitor.picture.waitFor()
    expect(await dialog.isVisible()).toBe(false)
    expect(await visitor.page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain(KEY)

    // Emptying the field forgets the key.
    await visitor.button('Access key').click()
    await give('')
    await visitor.submit.click()
    await dialog.waitFor()
    await dialog.getByRole('button', { name: 'Not now' }).click()
    expect(await dialog.isVisible()).toBe(false)
    await visitor.page.locator('#blank').waitFor()
  })

  it('cancels a request with the key', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(), WORKER_ARGS: '--fake-step-ms 20' })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.evaluate((key) => sessionStorage.setItem('easel.key', key), KEY)
    await visitor.open()
    await visitor.ready()
    await visitor.paint({ prompt: 'never finished', num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    const answer = visitor.page.waitForResponse((response) => response.request().method() === 'DELETE')
    await visitor.page.keyboard.press('Escape')
    expect((await answer).status()).toBe(204)
    await visitor.sees(visitor.progress, /Stopped/)
  })

  it("needs no key from visitors if the page's own process has one", async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile(), WORKER_ARGS: '--fake-step-ms 20' })
    const web = await startWeb(server.url, { API_KEY: KEY })
    const visitor = await enter(web.url)
    await visitor.ready()
    await visitor.paint({ prompt: 'through two servers', num_inference_steps: 10 })
    await visitor.sees(visitor.progress, /Step/)
    await visitor.picture.waitFor()
    await visitor.paint({ prompt: 'stopped', num_inference_steps: 1000 })
    await visitor.sees(visitor.progress, /Step/)
    await visitor.button('Stop').click()
    await idle(server)
  })
})

describe('a key with a limit', () => {
  it('is reported in words that do not name the key', async () => {
    const server = await startReadyServer({ ACCESS_KEYS: await keyFile({ requests_per_minute: 1 }) })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.evaluate((key) => sessionStorage.setItem('easel.key', key), KEY)
    await visitor.open()
    await visitor.ready()
    await visitor.paint({ prompt: 'the first', num_inference_steps: 2 })
    await visitor.picture.waitFor()
    await visitor.rests()
    await visitor.paint({ prompt: 'the second', num_inference_steps: 2 })
    await visitor.sees(visitor.notice, /Too many requests/)
    await visitor.sees(visitor.notice, /Your key has reached its rate limit\./)
    expect(await visitor.notice.innerText()).not.toMatch(/tests|times a minute/)
  })
})

async function keyFile(limits: object = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'easel-keys-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const file = join(folder, 'keys.json')
  await writeFile(file, JSON.stringify({ keys: [{ name: 'tests', key: KEY, ...limits }] }))
  return file
}
