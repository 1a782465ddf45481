#!/usr/bin/env node
// @ts-check
// Replaces tags by digests from the registries: a tag may move, but a digest always names the same bytes.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const PLACE = 'k8s/components/place/place.yaml'
const BASES = ['Dockerfile', 'cloudbuild.yaml']
const IMAGES = ['gateway', 'worker', 'worker-cuda', 'webapp']
const DIGEST = /^sha256:[0-9a-f]{64}$/

const HELP = `usage: node scripts/pin-images.mjs [TAG]      (from the root of the repository)
       node scripts/pin-images.mjs --bases

Without --bases: asks Artifact Registry (gcloud) for the digests of ${IMAGES.join(', ')}, and
writes TAG@DIGEST to ${PLACE}. TAG defaults to the one in that file.

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
 * @param {string[]} command prints the digest
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
      `${program} did not return the digest of ${image}: ${/** @type {Error} */ (error).message.split('\n')[0]}`
    )
  }
  const digest = read(output).trim()
  if (!DIGEST.test(digest)) fail(`${program} returned ${JSON.stringify(digest)} for ${image}, which is not a digest`)
  process.stdout.write(`${image}@${digest}\n`)
  return digest
}

/** @param {string | undefined} tag */
function pinPlace(tag) {
  const text = readFileSync(PLACE, 'utf8')
  /** @param {string} key */
  const value = (key) => new RegExp(`^  ${key}: '?([^'\\s]+)'?$`, 'm').exec(text)?.[1] ?? fail(`${PLACE} has no ${key}`)
  const repository = `${value('registry')}/${value('project')}/${value('repository')}`
  // Fetch all digests before writing any.
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
  // Quote the value: YAML reads a tag such as 1234567 as a number.
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
  if (bases.size === 0) fail(`${BASES.join(' and ')} use no node, python or docker image`)
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
else if (argument?.startsWith('-')) fail(`Unknown option ${argument}\n\n${HELP}`)
else pinPlace(argument)
