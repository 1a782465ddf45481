import { Ajv } from 'ajv'
import { spawnSync } from 'node:child_process'
import { beforeAll, describe, expect, it } from 'vitest'
import { checkers } from '../../tools/deploy-tools.mjs'
import { customResources } from './custom-resources.js'
import { INSTALL_MS, type Manifest, overlays, parseManifests, render } from './manifests.js'

/** The minor versions whose schemas the manifests have to fit. */
const KUBERNETES = ['1.33', '1.36']

let manifests: Manifest[]
beforeAll(async () => {
  manifests = (await Promise.all(overlays.map(render))).flatMap(parseManifests)
}, INSTALL_MS)

const isCustom = ({ apiVersion, kind }: Manifest) => `${apiVersion}/${kind}` in customResources

describe.each(KUBERNETES)('Kubernetes %s', (version) => {
  it(
    'takes every object of every overlay',
    async () => {
      const { python } = await checkers()
      const own = manifests.filter((manifest) => !isCustom(manifest))
      const input = own.map((manifest) => JSON.stringify(manifest)).join('\n---\n')
      const args = ['-m', 'kubernetes_validate', '--strict', '--kubernetes-version', version, '-']
      const { status, stdout, stderr } = spawnSync(python, args, { input, encoding: 'utf8' })
      expect(stdout + stderr).not.toMatch(/ERROR|WARN|FATAL/)
      expect(stdout.match(/passed/g)).toHaveLength(own.length)
      expect(status).toBe(0)
    },
    INSTALL_MS
  )
})

describe('the custom resources', () => {
  it.each(Object.entries(customResources))('%s: every one fits', (name, schema) => {
    const validate = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(schema)
    const found = manifests.filter(({ apiVersion, kind }) => `${apiVersion}/${kind}` === name)
    expect(found).not.toEqual([])
    for (const manifest of found) expect([validate(manifest), validate.errors]).toEqual([true, null])
    // A field that the schema does not know is refused, or it would check nothing.
    const [first] = found as unknown as [{ spec: object }]
    expect(validate({ ...first, spec: { ...first.spec, unknown: 1 } })).toBe(false)
  })
})
