// @ts-check
// Fastify with nothing around it: POST /generate takes JSON and answers with the same file each time. Its argument is the
// file; it prints its address.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'

const file = readFileSync(/** @type {string} */ (process.argv[2]))
const app = Fastify()
app.post('/generate', async (_request, reply) => reply.type('image/png').send(file))
console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
