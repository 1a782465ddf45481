import { Webhook } from 'standardwebhooks'
import { type Receiver, secretOf } from './receiver.js'
import { type RunningServer, startReadyServer } from './server.js'

/** Those that gateways of `sending` sign with. */
export const secrets = [secretOf(1), secretOf(2)]

/** A gateway that may send to these receivers. */
export const sending = (
  receivers: readonly Receiver[],
  env: NodeJS.ProcessEnv = {},
  start = startReadyServer
): Promise<RunningServer> =>
  start({
    WEBHOOK_HOSTS: receivers.map(({ url }) => url).join(' '),
    WEBHOOK_NETWORKS: '127.0.0.0/8',
    WEBHOOK_SECRETS: secrets.join(' '),
    ...env
  })

/** What a receiver got, each verified. */
export const eventsOf = <T>({ got }: Receiver, secret = secrets[0]!): T[] =>
  got.map(({ body, headers }) => new Webhook(secret).verify(body, headers) as T)

export const putJob = (server: RunningServer, id: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${server.url}/jobs/${id}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body)
  })
