import { Buffer } from 'node:buffer'
import sharp from 'sharp'
import { describe, expect, it } from 'vitest'
import { generate, type RunningServer, shareServer } from '../support/server.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer

shareServer((ready) => (server = ready))

describe('a picture opened in the page', () => {
  it.each(['png', 'jpeg', 'webp'])('fills the form with settings that reproduce it: %s', async (format) => {
    const file = await picture({
      prompt: 'from elsewhere',
      negative_prompt: 'rain',
      seed: 77,
      num_inference_steps: 4,
      guidance_scale: 2.5,
      width: 32,
      height: 48,
      scheduler: 'ddim',
      output_format: format
    })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page
      .locator('#file')
      .setInputFiles({ name: `x.${format}`, mimeType: `image/${format}`, buffer: file })
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^from elsewhere$/)
    expect(await visitor.sketches.count()).toBe(0)
    expect(await visitor.page.locator('.chip input:checked').inputValue()).toBe('32×48')
    expect(await visitor.page.locator('#scheduler').inputValue()).toBe('ddim')
    await visitor.submit.click()
    await visitor.keeps(1)
    expect((await visitor.download()).bytes.equals(file)).toBe(true)
  })

  it('sets truncate if its prompt was cut, which reproduces it', async () => {
    const file = await picture({ prompt: 'long '.repeat(90).trim(), truncate: true, seed: 5, num_inference_steps: 3 })
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page.locator('#file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: file })
    await visitor.sees(visitor.page.locator('#placard-facts'), /prompt truncated/)
    await visitor.submit.click()
    await visitor.keeps(1)
    expect((await visitor.download()).bytes.equals(file)).toBe(true)
  })

  it('can be dropped anywhere', async () => {
    const file = await picture({ prompt: 'dropped', seed: 8, num_inference_steps: 3 })
    const visitor = await enter(server.url)
    await visitor.ready()
    await drag(visitor, 'dragover', file)
    await visitor.page.locator('#drop').waitFor()
    await drag(visitor, 'drop', file)
    await visitor.sees(visitor.page.locator('#placard-prompt'), /^dropped$/)
    expect(await visitor.page.locator('#drop').isVisible()).toBe(false)
    expect(await visitor.page.locator('#seed').inputValue()).toBe('8')
  })

  it('without a recipe is reported, and leaves the form unchanged', async () => {
    const plain = await sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .png()
      .toBuffer()
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.write({ prompt: 'mine' })
    await visitor.page.locator('#file').setInputFiles({ name: 'plain.png', mimeType: 'image/png', buffer: plain })
    await visitor.sees(visitor.notice, /contains no settings/)
    expect(await visitor.page.locator('#prompt').inputValue()).toBe('mine')
    await visitor.button('Dismiss').click()
    expect(await visitor.notice.count()).toBe(0)
  })

  it('is refused if it is not a picture', async () => {
    const visitor = await enter(server.url)
    await visitor.ready()
    await visitor.page
      .locator('#file')
      .setInputFiles({ name: 'x.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') })
    await visitor.sees(visitor.page.locator('#toast'), /Only PNG, JPEG and WebP/)
  })
})

async function picture(body: object): Promise<Buffer> {
  return Buffer.from(await (await generate(server, body)).arrayBuffer())
}

async function drag(visitor: Visitor, type: string, file: Buffer): Promise<void> {
  const transfer = await visitor.page.evaluateHandle((base64) => {
    const data = new DataTransfer()
    data.items.add(
      new File([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], 'a.png', { type: 'image/png' })
    )
    return data
  }, file.toString('base64'))
  await visitor.page.dispatchEvent('body', type, { dataTransfer: transfer })
}
