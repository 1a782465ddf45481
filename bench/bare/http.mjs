// @ts-check
// A minimal Fastify server: POST /generate accepts JSON and always answers with the file that its argument names. It
// prints its address.
import { readFileSync } from 'node:fs'
import Fastify from 'fastify'

const file = readFileSync(/** @type {string} */ (process.argv[2]))
const app = Fastify()
app.post('/generate', async (_request, reply) => reply.type('image/png').send(file))
console.log(await app.listen({ host: '127.0.0.1', port: 0 }))
