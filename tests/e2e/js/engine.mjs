// Evaluates what comes on stdin, a JSON object a line, and answers on stdout: node engine.mjs PATH_OF_TIDEGATE_JS.
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { WebSocket } from 'ws'

Object.assign(globalThis, await import(pathToFileURL(process.argv[2])), { WebSocket })
const answer = (what) => process.stdout.write(JSON.stringify(what) + '\n')
process.on('unhandledRejection', (error) => console.log('unhandled', error))

for await (const line of createInterface({ input: process.stdin })) {
  const { id, code } = JSON.parse(line)
  Promise.resolve()
    .then(() => (0, eval)(`(${code})`))
    .then((value) => answer({ id, value }))
    .catch((error) => answer({ id, error: String(error?.stack ?? error) }))
}
