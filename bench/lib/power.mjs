// @ts-check
import { startChild } from '../../tools/children.mjs'

const EVERY_MS = 500

/**
 * Measures the power that the first NVIDIA GPU draws from now on, as nvidia-smi says.
 *
 * @returns {{ mean: () => Promise<number | null> }} `mean` ends the measurement: watts, or null where nothing tells
 */
export function measurePower() {
  const child = startChild(
    'nvidia-smi',
    ['--id=0', '--query-gpu=power.draw', '--format=csv,noheader,nounits', `--loop-ms=${EVERY_MS}`],
    { stdio: ['ignore', 'pipe', 'ignore'] }
  )
  let text = ''
  child.stdout?.on('data', (chunk) => {
    text += chunk
  })
  const end = new Promise((resolve) => {
    child.once('error', resolve)
    child.once('close', resolve)
  })
  return {
    async mean() {
      child.kill('SIGTERM')
      await end
      // The last line may be cut.
      const watts = text.split('\n').slice(0, -1).map(Number).filter(Number.isFinite)
      return watts.length === 0 ? null : watts.reduce((sum, each) => sum + each, 0) / watts.length
    }
  }
}
