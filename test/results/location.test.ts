import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseLocation } from '../../src/results/location.js'

describe('the value of RESULTS', () => {
  it.each([
    ['file:///var/lib/easel', { kind: 'file', folder: '/var/lib/easel' }],
    ['file:///with%20space/', { kind: 'file', folder: '/with space/' }],
    ['s3://images', { kind: 's3', bucket: 'images', prefix: '', pathStyle: false }],
    ['s3://images/a/b', { kind: 's3', bucket: 'images', prefix: 'a/b/', pathStyle: false }],
    ['s3://images//a/?region=eu-west-1', { kind: 's3', bucket: 'images', prefix: 'a/', region: 'eu-west-1' }],
    [
      's3://images?endpoint=http://minio:9000/&path_style=true',
      { kind: 's3', endpoint: 'http://minio:9000', pathStyle: true }
    ],
    ['gs://my.images-2/x', { kind: 'gs', bucket: 'my.images-2', prefix: 'x/' }]
  ])('%s', (value, expected) => {
    expect(parseLocation(value)).toMatchObject(expected)
  })

  it.each([
    ['/var/lib/easel', /must be file/],
    ['https://images', /must be file/],
    ['constructor://images', /must be file/],
    ['file://var/lib', /three slashes/],
    ['file:///', /three slashes/],
    ['file:///x?keep=1', /\?keep.*takes no parameters/],
    ['s3:///x', /must name a bucket/],
    ['s3://a', /must name a bucket/],
    ['s3://images?acl=public', /\?acl.*endpoint, region, path_style/],
    ['s3://images?path_style=yes', /true or false/],
    ['s3://images?endpoint=minio:9000', /http:\/\/ or https:\/\//],
    ['gs://images?region=eu', /\?region/],
    ['s3://key:hidden@images/x', /must not contain credentials/]
  ])('refuses %s and says why', (value, message) => {
    expect(() => parseLocation(value)).toThrow(message)
    expect(() => parseLocation(value)).not.toThrow(/hidden/)
  })

  it('makes a prefix that no name leaves', () => {
    fc.assert(
      fc.property(fc.webPath(), (path) => {
        const location = parseLocation(`s3://images${path}`)
        if (location.kind === 'file') throw new Error('not a bucket')
        expect(location.prefix).toMatch(/^(|.*[^/]\/)$/s)
      })
    )
  })
})
