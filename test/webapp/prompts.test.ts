import { describe, expect, it } from 'vitest'
import type { TokenizeResponse } from '../../src/schemas/tokenize.js'
import { generate, type RunningServer, shareServer } from '../support/server.js'
import { until } from '../support/wait.js'
import { useBrowser, type Visitor } from './support/visitor.js'

const enter = useBrowser()
let server: RunningServer
shareServer((started) => (server = started))

/** 90 tokens. */
const LONG = 'a red lamp, '.repeat(22) + 'end of it'

const count = (visitor: Visitor, name = 'prompt') => visitor.page.locator(`#${name}-count`)

async function readyVisitor(options = {}): Promise<Visitor> {
  const visitor = await enter(server.url, options)
  await visitor.ready()
  return visitor
}

async function countTokens(body: object): Promise<TokenizeResponse> {
  const headers = { 'content-type': 'application/json' }
  return (await (
    await fetch(`${server.url}/tokenize`, { method: 'POST', headers, body: JSON.stringify(body) })
  ).json()) as TokenizeResponse
}

describe('the count below a prompt', () => {
  it('has the tokens as the visitor writes, and marks what is cut', async () => {
    const visitor = await readyVisitor()
    await visitor.page.locator('#prompt').pressSequentially('a red lamp')
    await visitor.sees(count(visitor), /^3 of 75 tokens$/)
    expect(await visitor.page.locator('.marks .cut').count()).toBe(0)
    await visitor.write({ prompt: LONG, negative_prompt: 'fog' })
    await visitor.sees(count(visitor, 'negative_prompt'), /^1 of 75 tokens$/)
    const { tokens, cut_at: cut } = (await countTokens({ prompt: LONG })).prompt!
    await visitor.sees(
      count(visitor),
      new RegExp(`^${tokens} of 75 tokens\\. Not read: “${LONG.slice(cut!).trim().slice(0, 8)}`)
    )
    expect(await visitor.page.locator('.marks .cut').textContent()).toBe(LONG.slice(cut!))
    await visitor.sees(visitor.page.locator('#announce'), /Not read/)
    await visitor.write({ prompt: '' })
    expect(await count(visitor).textContent()).toBe('')
    expect(await visitor.page.locator('.marks .cut').count()).toBe(0)
  })

  it('counts chunks in a syntax that has them, and marks where they begin', async () => {
    const visitor = await readyVisitor()
    await visitor.page.locator('.fine summary').click()
    await visitor.page.getByLabel('Prompt syntax').selectOption('a1111')
    await visitor.write({ prompt: LONG })
    const { tokens, chunk_starts: starts } = (await countTokens({ prompt: LONG, prompt_syntax: 'a1111' })).prompt!
    await visitor.sees(count(visitor), new RegExp(`^${tokens} of 300 tokens in 2 chunks$`))
    expect(await visitor.page.locator('.marks .chunk').textContent()).toBe(LONG.slice(starts[1]))
  })

  it('says that the model is still being prepared for a prompt as long as this', async () => {
    const visitor = await readyVisitor()
    const prompt = {
      tokens: 90,
      chunks: 2,
      max_tokens: 75,
      coming_max_tokens: 150,
      chunk_starts: [0, 60],
      cut_at: null
    }
    await visitor.page.route('**/tokenize', (route) => route.fulfill({ json: { prompt, warnings: [] } }))
    await visitor.write({ prompt: LONG })
    await visitor.sees(
      count(visitor),
      /^90 of 150 tokens in 2 chunks\. The model is still being prepared for this length$/
    )
  })

  it.each([360, 1366])('has its marks behind the same lines as the text, on a screen of %d pixels', async (width) => {
    const visitor = await readyVisitor({ viewport: { width, height: 900 } })
    const heights = () =>
      visitor.page
        .locator('.marked')
        .first()
        .evaluate((marked) => {
          const [copy, field] = [...marked.children]
          return [copy!.scrollHeight, field!.scrollHeight, copy!.scrollTop, field!.scrollTop]
        })
    for (const prompt of [LONG, `${LONG}\n\n${LONG}`, `${'word'.repeat(60)} ${LONG}\n`, 'منارة في عاصفة '.repeat(40)]) {
      await visitor.write({ prompt })
      await visitor.sees(count(visitor), /Not read/)
      await visitor.page.locator('#prompt').evaluate((field) => field.scrollTo({ top: 40, behavior: 'instant' }))
      await until('the marks follow the text', async () => {
        const [copy, field, copyTop, fieldTop] = await heights()
        return Math.abs(copy! - field!) <= 1 && copyTop === fieldTop
      })
    }
  })

  it("shows what a syntax refuses, in the page's words", async () => {
    const visitor = await readyVisitor()
    await visitor.page.locator('.fine summary').click()
    await visitor.page.getByLabel('Prompt syntax').selectOption('a1111')
    await visitor.write({ prompt: 'a cat <hypernet:cute:1>' })
    await visitor.sees(count(visitor), /^This prompt has "?<hypernet:cute:1>"?, which loads a network/)
  })

  it('offers to read what looks like a weight in a plain prompt', async () => {
    const visitor = await readyVisitor()
    await visitor.write({ prompt: 'a (red:1.3) hat' })
    await visitor.sees(count(visitor), /\(red:1\.3\) is read as text/)
    await visitor.button('Read it as a weight').click()
    await visitor.sees(count(visitor), /^3 of 300 tokens$/)
    expect(await visitor.page.locator('#prompt_syntax').inputValue()).toBe('a1111')
  })

  it('is empty with a server that does not count', async () => {
    const visitor = await readyVisitor()
    let asked = 0
    await visitor.page.route('**/tokenize', async (route) => {
      asked += 1
      await route.fulfill({ status: 404, json: { statusCode: 404, code: 'NOT_FOUND', message: 'no', requestId: 'x' } })
    })
    for (const prompt of ['one', 'one two']) {
      await visitor.write({ prompt })
      await visitor.page.waitForTimeout(400)
    }
    expect([asked, await count(visitor).textContent()]).toEqual([1, ''])
  })
})

describe('weights', () => {
  it('are changed by Ctrl and the arrow keys, read in their syntax, and undone', async () => {
    const visitor = await readyVisitor()
    const prompt = visitor.page.locator('#prompt')
    await prompt.fill('a red hat')
    await prompt.press('End')
    await prompt.press('Control+ArrowUp')
    await prompt.press('Control+ArrowUp')
    expect(await prompt.inputValue()).toBe('a red (hat:1.2)')
    await visitor.sees(visitor.page.locator('#toast'), /Prompt syntax: AUTOMATIC1111/)
    await prompt.press('Control+z')
    expect(await prompt.inputValue()).toBe('a red (hat:1.1)')
    const negative = visitor.page.locator('#negative_prompt')
    await negative.fill('fog')
    await negative.press('Control+ArrowDown')
    expect(await negative.inputValue()).toBe('(fog:0.9)')

    await visitor.paint({ seed: 3, num_inference_steps: 2 })
    await visitor.picture.waitFor()
    const { bytes } = await visitor.download()
    const same = await generate(server, {
      prompt: 'a red (hat:1.1)',
      negative_prompt: '(fog:0.9)',
      prompt_syntax: 'a1111',
      seed: 3,
      num_inference_steps: 2,
      width: 64,
      height: 64
    })
    expect(JSON.parse(same.headers.get('easel-recipe')!)).toMatchObject({ prompt_syntax: 'a1111' })
    expect(bytes.equals(Buffer.from(await same.arrayBuffer()))).toBe(true)
  })

  it('are changed by touch', async () => {
    const visitor = await readyVisitor({ hasTouch: true, isMobile: true, viewport: { width: 390, height: 844 } })
    await visitor.write({ prompt: 'a red hat' })
    await visitor.page.locator('#prompt').evaluate((field: HTMLTextAreaElement) => {
      field.focus()
      field.setSelectionRange(2, 5)
    })
    await visitor.button('Raise the weight').tap()
    await visitor.button('Raise the weight').tap()
    await visitor.button('Lower the weight').tap()
    expect(await visitor.page.locator('#prompt').inputValue()).toBe('a (red:1.1) hat')
  })

  it('leave the text as it is with a model that applies none', async () => {
    const visitor = await enter(server.url)
    await visitor.page.route('**/health', async (route) => {
      const health = (await (await route.fetch()).json()) as { features: string[] }
      await route.fulfill({ json: { ...health, features: [] } })
    })
    await visitor.open()
    await visitor.ready()
    await visitor.page.locator('#prompt').fill('hat')
    await visitor.page.locator('#prompt').press('Control+ArrowUp')
    expect(await visitor.page.locator('#prompt').inputValue()).toBe('hat')
    expect(await visitor.button('Raise the weight').isVisible()).toBe(false)
  })
})

describe('settings', () => {
  const own = {
    prompt: 'one',
    prompt_2: 'two (three:1.2)',
    negative_prompt: 'four',
    negative_prompt_2: 'five',
    prompt_syntax: 'a1111',
    seed: 7,
    num_inference_steps: 2,
    width: 64,
    height: 64
  }

  it('for the second text encoder and the syntax are sent, and loaded from an image', async () => {
    const visitor = await readyVisitor()
    const image = Buffer.from(await (await generate(server, own)).arrayBuffer())
    const file = { name: 'a.png', mimeType: 'image/png', buffer: image }
    await visitor.page.locator('#file').setInputFiles(file)
    await visitor.sees(visitor.page.locator('#toast-text'), /^Loaded the settings of this image$/)
    await visitor.submit.click()
    await visitor.keeps(1)
    expect((await visitor.download()).bytes.equals(image)).toBe(true)
  })

  it('that the form does not have are named', async () => {
    const visitor = await readyVisitor()
    const request = { ...own, negative_prompt: '', negative_prompt_2: '', force_zeros_for_empty_prompt: false }
    const image = await generate(server, request)
    expect(image.status).toBe(200)
    const buffer = Buffer.from(await image.arrayBuffer())
    await visitor.page.locator('#file').setInputFiles({ name: 'a.png', mimeType: 'image/png', buffer })
    await visitor.sees(visitor.page.locator('#toast'), /this image, except .*force_zeros_for_empty_prompt/)
  })

  it.each([
    { features: ['schedules', 'guidance_rescale'], offered: true },
    { features: [], offered: false }
  ])('for schedules and guidance rescale are offered with the features $features', async ({ features, offered }) => {
    const visitor = await enter(server.url)
    await visitor.page.route('**/health', async (route) => {
      const health = (await (await route.fetch()).json()) as object
      await route.fulfill({ json: { ...health, features } })
    })
    const sent: unknown[] = []
    await visitor.page.route('**/generate', async (route) => {
      sent.push(route.request().postDataJSON())
      await route.abort()
    })
    await visitor.open()
    await visitor.ready()
    await visitor.page.locator('.fine summary').click()
    for (const label of ['Timestep spacing', 'Eta', 'Guidance rescale'])
      expect(await visitor.page.getByLabel(label).isVisible(), label).toBe(offered)
    if (offered) {
      await visitor.page.getByLabel('Timestep spacing').selectOption('trailing')
      await visitor.write({ eta: 0.5, guidance_rescale: 0.7 })
    }
    await visitor.paint({ prompt: 'x' })
    await visitor.notice.waitFor()
    const own = { timestep_spacing: 'trailing', eta: 0.5, guidance_rescale: 0.7 }
    if (offered) expect(sent[0]).toMatchObject(own)
    else for (const name of Object.keys(own)) expect(sent[0]).not.toHaveProperty(name)
  })
})
