import { Type, type Static } from 'typebox'

/** A ControlNet or T2I-Adapter that requests may name. */
export const ControlInfo = Type.Object(
  {
    name: Type.String({ description: 'What `controls` of POST /generate calls it.' }),
    digest: Type.String({ description: 'SHA-256 of what decides its numbers.' }),
    kind: Type.String({ description: '`controlnet` or `t2i-adapter`.' })
  },
  { $id: 'ControlInfo' }
)
export type ControlInfo = Static<typeof ControlInfo>

/** An IP-Adapter that requests may name. */
export const IpAdapterInfo = Type.Object(
  {
    name: Type.String({ description: 'What `ip_adapters` of POST /generate calls it.' }),
    digest: Type.String({ description: 'SHA-256 of what decides its numbers.' }),
    tokens: Type.Integer({ description: 'How many tokens it makes of a picture.' })
  },
  { $id: 'IpAdapterInfo' }
)
export type IpAdapterInfo = Static<typeof IpAdapterInfo>
