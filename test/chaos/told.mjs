// @ts-check

/**
 * @typedef {object} Told
 * @property {string} id of the message
 * @property {string} job in the address
 * @property {string} type
 * @property {{ id: string, status: string, ended_at: string | null }} data
 */

/**
 * What is wrong with what was told of a job.
 *
 * @param {readonly Told[]} told at its address
 * @param {{ status: string, endedAt: number } | undefined} end as the store has it; undefined for a job without a webhook
 * @param {{ name: string, taken: ReadonlySet<string>, anew: boolean }} job `taken`: ids of messages that were taken; `anew`: whether
 *   the job was forgotten and submitted again
 */
export function wrongWith(told, end, { name, taken, anew }) {
  if (end === undefined) return told.length === 0 ? [] : [`${name} was told, and has no webhook`]
  const endedAt = new Date(end.endedAt).toISOString()
  const wrong = []
  let [mine, others] = [0, 0]
  for (const [id, messages] of by(told, 'id')) {
    const different = new Set(
      messages.map(({ type, data }) => JSON.stringify([type, data.id, data.status, data.ended_at]))
    )
    if (different.size > 1) wrong.push(`${name} was told differently under one id: ${[...different].join(', ')}`)
    const { type, data } = /** @type {Told} */ (messages[0])
    if (data.id !== name || type !== `job.${data.status}`)
      wrong.push(`${name} was told ${type} of ${data.id}, ${data.status}`)
    if (data.status !== end.status || data.ended_at !== endedAt) others += 1
    else {
      mine += 1
      if (!taken.has(id)) wrong.push(`${name} was told, and that was not taken`)
    }
  }
  if (mine !== 1) wrong.push(`${name} is ${end.status}, and that was told under ${mine} ids`)
  // The end of one that was forgotten may have been told before.
  if (others > (anew ? 1 : 0)) wrong.push(`${name} was told ${others} ends that it does not have`)
  return wrong
}

/**
 * @param {readonly Told[]} told
 * @param {'id' | 'job'} field
 */
export function by(told, field) {
  /** @type {Map<string, Told[]>} */
  const groups = new Map()
  for (const each of told) {
    const group = groups.get(each[field])
    if (group === undefined) groups.set(each[field], [each])
    else group.push(each)
  }
  return groups
}
