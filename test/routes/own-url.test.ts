import { expect, it } from 'vitest'
import { absoluteUrl } from '../../src/routes/own-url.js'

it.each([
  ['/jobs/a', 'http://gateway:8000', 'http://gateway:8000/jobs/a'],
  [
    '/results/~/a/0.png?expires=1',
    'https://images.example.com/',
    'https://images.example.com/results/~/a/0.png?expires=1'
  ],
  ['/jobs/a', 'https://example.com/easel', 'https://example.com/easel/jobs/a'],
  ['/jobs/a', 'https://example.com/easel/', 'https://example.com/easel/jobs/a'],
  ['https://bucket.example.com/0.png', 'https://example.com/easel', 'https://bucket.example.com/0.png'],
  ['/jobs/a', 'http://', '/jobs/a'],
  ['/jobs/a', 'http://no host', '/jobs/a']
])('%s of %s is %s', (url, base, whole) => {
  expect(absoluteUrl(url, base)).toBe(whole)
})
