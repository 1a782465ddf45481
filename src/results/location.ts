import { createHash } from 'node:crypto'

/** Where finished images are stored. */
export type Location = FolderLocation | BucketLocation

export interface FolderLocation {
  readonly kind: 'file'
  /** An absolute path. */
  readonly folder: string
}

export interface BucketLocation {
  readonly kind: 's3' | 'gs'
  readonly bucket: string
  /** What the names of all objects start with: empty, or ending in a slash. */
  readonly prefix: string
  /** The server's address, if it is not AWS's or Google's. */
  readonly endpoint: string | undefined
  /** S3: the bucket's region. Undefined for what the environment says. */
  readonly region: string | undefined
  /** S3: whether the bucket is part of the path and not of the host's name. */
  readonly pathStyle: boolean
}

const FORMS = 'must be file:///FOLDER, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX'

/** What may follow the `?`, by scheme. */
const PARAMETERS = { 'file:': [], 's3:': ['endpoint', 'region', 'path_style'], 'gs:': ['endpoint'] }

/**
 * Parses the value of RESULTS.
 *
 * @throws Error that says what is wrong without repeating the value, which may hold a secret
 */
export function parseLocation(value: string): Location {
  if (!URL.canParse(value)) throw new Error(FORMS)
  const url = new URL(value)
  const { protocol, searchParams } = url
  if (!isKnown(protocol)) throw new Error(FORMS)
  if (url.username !== '' || url.password !== '')
    throw new Error('must not contain credentials; they come from the environment (docs/results.md)')
  const allowed: readonly string[] = PARAMETERS[protocol]
  const unknown = [...searchParams.keys()].find((name) => !allowed.includes(name))
  if (unknown !== undefined)
    throw new Error(
      `does not take ?${unknown}; ${protocol}// takes ${allowed.length === 0 ? 'no parameters' : allowed.join(', ')}`
    )
  return protocol === 'file:' ? folderOf(url) : bucketOf(url, protocol === 's3:' ? 's3' : 'gs')
}

/** A bucket's identity, by what its location says. */
export function identityOf({ kind, bucket, prefix, endpoint = '' }: BucketLocation): string {
  return createHash('sha256')
    .update(JSON.stringify([kind, bucket, prefix, endpoint]))
    .digest('hex')
    .slice(0, 32)
}

function isKnown(protocol: string): protocol is keyof typeof PARAMETERS {
  return Object.hasOwn(PARAMETERS, protocol)
}

function folderOf({ host, pathname, hash }: URL): FolderLocation {
  if (host !== '' || pathname === '/' || hash !== '')
    throw new Error('must name an absolute folder with three slashes, like file:///var/lib/easel')
  return { kind: 'file', folder: decodeURIComponent(pathname) }
}

function bucketOf({ host, pathname, searchParams }: URL, kind: 's3' | 'gs'): BucketLocation {
  if (!/^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/.test(host)) throw new Error(`must name a bucket, like ${kind}://images`)
  const prefix = decodeURIComponent(pathname).split('/').filter(Boolean)
  const endpoint = searchParams.get('endpoint') ?? undefined
  if (endpoint !== undefined && !/^https?:\/\/[^/?#]+\/?$/.test(endpoint))
    throw new Error('needs an http:// or https:// address without a path as ?endpoint=')
  const pathStyle = searchParams.get('path_style') ?? 'false'
  if (pathStyle !== 'true' && pathStyle !== 'false') throw new Error('needs true or false as ?path_style=')
  return {
    kind,
    bucket: host,
    prefix: prefix.map((part) => `${part}/`).join(''),
    endpoint: endpoint?.replace(/\/$/, ''),
    region: searchParams.get('region') ?? undefined,
    pathStyle: pathStyle === 'true'
  }
}
