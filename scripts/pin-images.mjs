#!/usr/bin/env node
// @ts-check
// Puts digests in the place of tags, as the registries tell them: a tag may be moved, a digest names the same bytes for ever.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const PLACE = 'k8s/components/place/place.yaml'
const BASES = ['Dockerfile', 'cloudbuild.yaml']
const IMAGES = ['gateway', 'worker', 'webapp']
const DIGEST = /^sha256:[0-9a-f]{64}$/

const HELP = `usage: node scripts/pin-images.mjs [TAG]      (from the root of the repository)
       node scripts/pin-images.mjs --bases

Without --bases: asks Artifact Registry (gcloud) for the digests of gateway, worker and webapp, and writes
TAG@DIGEST into ${PLACE}. TAG is what is there already, unless it is given.

With --bases: asks Docker Hub (docker buildx) for the digests of the images that ${BASES.join(' and ')} use.
`

/**
 * @param {string} message
 * @returns {never}
 */
function fail(message) {
  process.stderr.write(`pin-images: ${message}\n`)
  process.exit(1)
}

/**
 * @param {string} image
 * @param {string[]} command what prints the digest
 * @param {(output: string) => string} [read]
 * @returns {string}
 */
function ask(image, [program = '', ...args], read = (output) => output) {
  /** @type {string} */
  let output
  try {
    output = execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  } catch (error) {
    return fail(
      `${program} does not tell the digest of ${image}: ${/** @type {Error} */ (error).message.split('\n')[0]}`
    )
  }
  const digest = read(output).trim()
  if (!DIGEST.test(digest)) fail(`${program} says ${JSON.stringify(digest)} for ${image}, which is no digest`)
  process.stdout.write(`${image}@${digest}\n`)
  return digest
}

/** @param {string | undefined} tag */
function pinPlace(tag) {
  const text = readFileSync(PLACE, 'utf8')
  /** @param {string} key */
  const value = (key) =>
    new RegExp(`^  ${key}: '?([^'\\s]+)'?$`, 'm').exec(text)?.[1] ?? fail(`${PLACE} says no ${key}`)
  const repository = `${value('registry')}/${value('project')}/${value('repository')}`
  // All are asked before any is written.
  const pinned = IMAGES.map((name) => {
    const image = `${repository}/${name}:${tag ?? value(name).split('@')[0]}`
    const digest = ask(image, [
      'gcloud',
      'artifacts',
      'docker',
      'images',
      'describe',
      image,
      '--format=value(image_summary.digest)'
    ])
    return [name, `${image.split(':').at(-1)}@${digest}`]
  })
  // In quotes: a tag such as 1234567 is a number to YAML.
  writeFileSync(
    PLACE,
    pinned.reduce(
      (all, [name, reference]) => all.replace(new RegExp(`^  ${name}: .*$`, 'm'), `  ${name}: '${reference}'`),
      text
    )
  )
}

function pinBases() {
  const texts = BASES.map((file) => readFileSync(file, 'utf8'))
  const bases = new Set(
    texts.flatMap((text) =>
      [...text.matchAll(/^(?:FROM|\s+name:) ((?:node|python|docker):[\w.-]+)/gm)].map(([, base = '']) => base)
    )
  )
  if (bases.size === 0) fail(`${BASES.join(' and ')} use no image of node, python or docker`)
  const digests = [...bases].map((base) => [
    base,
    ask(
      base,
      ['docker', 'buildx', 'imagetools', 'inspect', base, '--format', '{{json .Manifest}}'],
      (output) => JSON.parse(output).digest
    )
  ])
  for (const [index, file] of BASES.entries()) {
    writeFileSync(
      file,
      digests.reduce(
        (all, [base, digest]) =>
          all.replaceAll(new RegExp(`(?<=\\s)${base}(@sha256:[0-9a-f]{64})?(?=\\s)`, 'g'), `${base}@${digest}`),
        texts[index] ?? ''
      )
    )
  }
}

const [argument] = process.argv.slice(2)
if (argument === '--help' || argument === '-h') process.stdout.write(HELP)
else if (argument === '--bases') pinBases()
else if (argument?.startsWith('-')) fail(`${argument} is no option\n\n${HELP}`)
else pinPlace(argument)
