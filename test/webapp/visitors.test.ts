import { describe, expect, it } from 'vitest'
import { generate, startReadyServer } from '../support/server.js'
import { useBrowser } from './support/visitor.js'

const enter = useBrowser()

describe('two visitors at once', () => {
  it("never see each other's pictures", async () => {
    const server = await startReadyServer({ WORKER_ARGS: '--fake-step-ms 5' })
    const visitors = await Promise.all(
      ['mine', 'yours'].map(async (prompt) => ({ prompt, visitor: await enter(server.url) }))
    )
    await Promise.all(visitors.map(({ visitor }) => visitor.ready()))
    await Promise.all(
      visitors.map(async ({ prompt, visitor }, who) => {
        for (let round = 0; round < 3; round++) {
          const seed = 100 * who + 10 * round
          await visitor.paint({ prompt: `${prompt} ${round}`, seed, num_images: 2, num_inference_steps: 6 + round })
          await visitor.keeps(2 * (round + 1))
          await visitor.rests()
        }
      })
    )
    for (const [who, { prompt, visitor }] of visitors.entries()) {
      const labels = await visitor.sketches.evaluateAll((sketches) =>
        sketches.map((sketch) => sketch.getAttribute('aria-label')!)
      )
      expect(labels.every((label) => label.startsWith(prompt))).toBe(true)
      // The label matches the file: the server makes the same bytes from the label's settings.
      for (const [index, label] of labels.entries()) {
        const round = Number(/ (\d), seed/.exec(label)![1])
        const seed = Number(/\d+$/.exec(label)![0])
        expect(Math.floor(seed / 100)).toBe(who)
        await visitor.sketches.nth(index).click()
        await visitor.sees(visitor.page.locator('#placard-facts'), new RegExp(`seed ${seed} `))
        const { bytes } = await visitor.download()
        const alone = await generate(server, {
          prompt: `${prompt} ${round}`,
          seed,
          num_inference_steps: 6 + round,
          guidance_scale: 5,
          width: 64,
          height: 64
        })
        expect(bytes.equals(Buffer.from(await alone.arrayBuffer()))).toBe(true)
      }
    }
  })
})
