// @ts-check

/** @typedef {{ check: string, found: string, ok: boolean }} Finding */

/**
 * Compares the promises with what was seen.
 *
 * @param {import('./run.mjs').Observed} observed
 * @returns {Finding[]}
 */
export function judge({ ends, broken, faults, lost, lawGap, left, retired, bad }) {
  const struck = Object.entries(faults).filter(([kind]) => kind !== 'replaced')
  const crashed = ends['500 WORKER_CRASHED'] ?? 0
  return [
    {
      check: 'each request has one answer, and each image the bytes as alone',
      found: broken.length === 0 ? `${ends['image'] ?? 0} images` : `${broken.length} broken, first: ${broken[0]}`,
      ok: broken.length === 0 && (ends['image'] ?? 0) > 20
    },
    {
      check: 'workers were killed, frozen and cut off, and lost each time',
      found: `${struck.map(([kind, count]) => `${count} ${kind}`).join(', ')}; ${lost} lost`,
      ok: struck.every(([, count]) => count > 0) && lost >= struck.reduce((sum, [, count]) => sum + count, 0)
    },
    { check: 'no more failures than lost workers', found: `${crashed} of ${lost}`, ok: crashed <= lost },
    {
      check: 'accepted = succeeded + failed + cancelled + expired + in flight',
      found: `${lawGap} missing, ${left} left over`,
      ok: lawGap === 0 && left === 0
    },
    { check: 'the replaced gateway ended with status 0', found: String(retired), ok: retired === 0 },
    { check: 'no internal errors in the log', found: bad[0] ?? 'nothing', ok: bad.length === 0 }
  ]
}
