import { byId, el } from '../lib/dom.js'

/** What the embedded demo model was trained on: coloured shapes. */
const SHAPES = ['a red circle on a blue background', 'a yellow triangle on a purple background', 'a green square on a white background']

const SCENES = [
  'a lighthouse in a storm, oil on canvas, visible brush strokes',
  'a kitchen garden at dawn, gouache, soft light',
  'an old violin on a windowsill, chiaroscuro, still life'
]

/** Offers prompts to begin with, such as the model can paint. */
export function showExamples(model: string, take: (prompt: string) => void): void {
  const prompts = /demo|fake/i.test(model) ? SHAPES : SCENES
  byId('examples', HTMLDivElement).replaceChildren(
    ...prompts.map((prompt) => {
      const button = el('button', { type: 'button', className: 'example' }, prompt)
      button.addEventListener('click', () => take(prompt))
      return button
    })
  )
}
