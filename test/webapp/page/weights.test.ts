import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parsePrompt } from '../../../src/prompt/index.js'
import { changeWeight, type WeightSyntax } from '../../../src/webapp/page/model/weights.js'

/** Applies the keys to a text whose selection is between two bars, or whose cursor is at one. */
function press(marked: string, keys: string, syntax: WeightSyntax = 'a1111'): string {
  const start = marked.indexOf('|')
  const end = marked.lastIndexOf('|') === start ? start : marked.lastIndexOf('|') - 1
  let text = marked.replaceAll('|', '')
  let selection: readonly [number, number] = [start, end]
  for (const key of keys) {
    const edit = changeWeight(text, selection, key === '+' ? 1 : -1, syntax)
    if (edit === undefined) continue
    text = text.slice(0, edit.from) + edit.text + text.slice(edit.to)
    selection = edit.select
  }
  return `${text.slice(0, selection[0])}|${text.slice(selection[0], selection[1])}|${text.slice(selection[1])}`
}

describe('a weight', () => {
  it.each([
    ['wraps the word at the cursor', 'a r|ed hat', '+', 'a (|red|:1.1) hat'],
    ['wraps the word before the cursor', 'a red|, hat', '+', 'a (|red|:1.1), hat'],
    ['wraps the selection without its outer spaces', 'a| red hat |', '+', 'a (|red hat|:1.1) '],
    ['goes on from the selection that it left', 'a r|ed hat', '+++', 'a (|red|:1.3) hat'],
    ['goes down', 'a r|ed hat', '--', 'a (|red|:0.8) hat'],
    ['disappears at 1', 'a r|ed hat', '++--', 'a |red| hat'],
    ['has a decimal point at whole numbers', 'a (r|ed:1.9) hat', '+', 'a (|red|:2.0) hat'],
    ['may be negative', '(|red|:0.1)', '--', '(|red|:-0.1)'],
    ['keeps finer steps', '(|red|:1.15)', '+', '(|red|:1.25)'],
    ['is that of the bracket around the cursor', 'a (very r|ed:1.2) hat', '+', 'a (|very red|:1.3) hat'],
    ['is that of the innermost bracket', '((r|ed:1.2) hat:1.5)', '+', '((|red|:1.3) hat:1.5)'],
    ['is that of the outer bracket beside the inner one', '((red:1.2) h|at:1.5)', '+', '(|(red:1.2) hat|:1.6)'],
    ['is changed with the cursor in the number', '(red:1.|2)', '+', '(|red|:1.3)'],
    ['ignores brackets without a number', '((r|ed))', '+', '(((|red|:1.1)))'],
    ['ignores escaped brackets', String.raw`\(r|ed:1.2\)`, '+', String.raw`\((|red|:1.1):1.2\)`],
    ['is not given to nothing', 'red  |  hat', '+', 'red  ||  hat']
  ])('in AUTOMATIC1111 syntax %s', (_, before, keys, after) => {
    expect(press(before, keys)).toBe(after)
  })

  it.each([
    ['wraps the word', 'a r|ed hat', '+', 'a (|red|)1.1 hat'],
    ['disappears at 1', 'a (r|ed)1.1 hat', '-', 'a |red| hat'],
    ['is that of the innermost bracket', '((r|ed)1.2 hat)1.5', '+', '((|red|)1.3 hat)1.5'],
    ['stops at 0', 'a (|red|)0.1 hat', '---', 'a (|red|)0.0 hat']
  ])('in compel syntax %s', (_, before, keys, after) => {
    expect(press(before, keys, 'compel')).toBe(after)
  })

  it.each(['a1111', 'compel'] as const)('is read back by the server in %s syntax', (syntax) => {
    const words = fc.array(fc.stringMatching(/^[a-z]{1,8}$/), { minLength: 1, maxLength: 6 })
    fc.assert(
      fc.property(words, fc.nat(), fc.integer({ min: -9, max: 20 }), (list, pick, steps) => {
        const word = list[pick % list.length]!
        const text = list.join(' ')
        const at = list.slice(0, pick % list.length).join(' ').length + (pick % list.length === 0 ? 0 : 1)
        const marked = `${text.slice(0, at)}|${text.slice(at)}`
        const pressed = press(marked, (steps > 0 ? '+' : '-').repeat(Math.abs(steps)), syntax).replaceAll('|', '')
        const weight = Math.round((1 + steps / 10) * 10) / 10
        const fragments = parsePrompt(pressed, syntax, false)
        const heavy = fragments.filter((fragment) => fragment.weight !== 1)
        if (steps === 0) expect(heavy).toEqual([])
        else expect(heavy).toMatchObject([{ text: word, weight: expect.closeTo(weight, 9) }])
      })
    )
  })
})
