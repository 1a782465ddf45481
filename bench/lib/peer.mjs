// @ts-check
import { once } from 'node:events'
import { join } from 'node:path'
import { startChild } from '../../tools/children.mjs'
import { fillVenv, installing } from '../../tools/installing.mjs'
import { freePort } from '../../tools/ports.mjs'
import { root, StepError } from '../../tools/run.mjs'
import { freshness } from '../../tools/stamp.mjs'
import { python } from '../../tools/setup.mjs'

const LOCK = 'bench/peers/fastapi/requirements.lock'
const VENV = '.cache/bench-peers'

/** The tutorial's server, in its own environment. */
export async function startPeer() {
  await install()
  const port = await freePort()
  const server = startChild(
    join(root, VENV, 'bin/python'),
    [join(root, 'bench/peers/fastapi/server.py'), String(port)],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, PYTHONPATH: join(root, 'python-worker') }
    }
  )
  const stop = async () => {
    server.kill('SIGTERM')
    if (server.exitCode === null) await once(server, 'exit')
  }
  const url = `http://127.0.0.1:${port}`
  while (
    !(await fetch(`${url}/health`).then(
      ({ ok }) => ok,
      () => false
    ))
  ) {
    if (server.exitCode !== null) throw new StepError(`the peer ended with status ${server.exitCode}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { url, stop }
}

async function install() {
  await freshness(`${VENV}/.stamp`, [LOCK]).make((whole) =>
    installing('Installing the server to compare with (FastAPI, uvicorn, Pillow)', VENV, () =>
      fillVenv(VENV, python, whole, [['--require-hashes', '-r', LOCK]])
    )
  )
}
