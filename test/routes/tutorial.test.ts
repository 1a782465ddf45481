import sharp from 'sharp'
import { expect, it } from 'vitest'
import { startReadyServer } from '../support/server.js'

it("the request that Google's reference documents makes the image that it describes", async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--sizes 1024x1024,512x512' })
  const answer = await fetch(`${server.url}/generate`, {
    method: 'POST',
    // As curl sends it.
    headers: { accept: '*/*', 'content-type': 'application/json' },
    body: '{\n    "height": 512,\n    "num_inference_steps": 4,\n    "prompt": "A photo of a dog playing fetch in a park.",\n    "width": 512\n  }'
  })
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'image/png'])
  const recipe = JSON.parse(answer.headers.get('easel-recipe')!) as object
  expect(recipe).toMatchObject({
    prompt: 'A photo of a dog playing fetch in a park.',
    width: 512,
    height: 512,
    num_inference_steps: 4
  })
  expect(answer.headers.get('easel-seed')).toMatch(/^\d+$/)
  expect(await sharp(await answer.arrayBuffer()).metadata()).toMatchObject({ format: 'png', width: 512, height: 512 })
})

it('without the size it is told which sizes there are', async () => {
  const server = await startReadyServer({ WORKER_ARGS: '--sizes 1024x1024' })
  const answer = await fetch(`${server.url}/generate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'x', width: 512, height: 512, num_inference_steps: 4 })
  })
  expect(answer.status).toBe(400)
  expect(((await answer.json()) as { message: string }).message).toContain('1024x1024')
})
