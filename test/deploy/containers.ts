import { resolve } from 'node:path'
import { environmentOf, readDockerfile } from './dockerfile.js'
import { type Container, type Deployment, type Manifest, ofKind, variablesOf } from './manifests.js'

/** The target of the Dockerfile that a container runs. */
export function imageOf({ image }: Container): string {
  return /(?:\/|easel-)([\w-]+):[^/]+$/.exec(image)?.[1]?.replace(/^easel-/, '') ?? image
}

/** All containers of all Deployments, those that prepare included. */
export function everyContainer(manifests: readonly Manifest[]): Container[] {
  return ofKind<Deployment>(manifests, 'Deployment').flatMap(({ spec: { template } }) =>
    template.spec.containers.concat(template.spec.initContainers ?? [])
  )
}

/** Whether a target's image has a path that some stage copies out of this repository. */
export function holds(target: string, path: string): boolean {
  const stage = readDockerfile().find(({ name }) => name === target)
  if (stage === undefined) return false
  return (
    holds(stage.base, path) ||
    stage.copies.some(({ from, sources, target }) => {
      const place = resolve('/opt/easel', target)
      if (from === undefined) return place === path
      return sources.some(
        (source) => path.startsWith(place) && holds(from, resolve('/opt/easel', source) + path.slice(place.length))
      )
    })
  )
}

/** What the process in a container finds in its environment; the Pod's values win over the image's. */
export function imageAndPod(container: Container, manifests: readonly Manifest[]): Record<string, string> {
  const image = environmentOf(readDockerfile(), imageOf(container))
  // The image's PATH leads to its own Python, which is not on this machine.
  delete image['PATH']
  return { ...image, ...variablesOf(container, manifests) }
}
