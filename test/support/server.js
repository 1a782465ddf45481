import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { onTestFinished } from 'vitest';
import { loadConfig } from '../../src/config.js';
import { createServer } from '../../src/server.js';
const SMALL_FAKE = '--sizes 64x64,32x48 --fake-step-ms 1 --fake-encode-ms 0 --fake-decode-ms 0';
/** Like `openServer`, and stops it when the test is over. */
export async function startServer(env = {}) {
    const { server, stop } = await openServer(env);
    onTestFinished(stop);
    return server;
}
/**
 * Starts the real server with a real worker process (the fake engine unless `env` says otherwise), on a free port and
 * an own socket.
 */
export async function openServer(env = {}) {
    const socket = join(tmpdir(), `easel-test-${randomUUID()}.sock`);
    const logs = [];
    const log = pino({ level: 'debug' }, { write: (line) => void logs.push(JSON.parse(line)) });
    const config = loadConfig([], {
        HOST: '127.0.0.1',
        PORT: '0',
        ENGINE: 'fake',
        WORKER_ENDPOINT: `ipc://${socket}`,
        HEARTBEAT_INTERVAL: '0.1',
        RESTART_BACKOFF: '0.05',
        ...env,
        WORKER_ARGS: `${SMALL_FAKE} ${env['WORKER_ARGS'] ?? ''}`
    });
    const server = await createServer(config, log);
    const stop = async () => {
        await server.close(0);
        await rm(socket, { force: true });
    };
    await server.app.listen({ host: config.host, port: config.port });
    const { port } = server.app.server.address();
    return { server: { ...server, url: `http://127.0.0.1:${port}`, endpoint: config.workerEndpoint, logs }, stop };
}
/** Starts a server for the test and waits until its first worker is ready. */
export async function startReadyServer(env = {}) {
    const server = await startServer(env);
    await server.engine.firstReady;
    return server;
}
/** Sends a generate request. */
export function generate(server, body, init = {}) {
    return fetch(`${server.url}/generate`, {
        method: 'POST',
        ...init,
        headers: { 'content-type': 'application/json', ...init.headers },
        body: JSON.stringify(body)
    });
}
/** The value of a metric's samples, summed over those whose labels contain `labels`. */
export async function metric(server, name, labels = '') {
    const text = await (await fetch(`${server.url}/metrics`)).text();
    const samples = text.split('\n').filter((line) => line.startsWith(name) && /[{ ]/.test(line[name.length] ?? '') && line.includes(labels));
    return samples.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
