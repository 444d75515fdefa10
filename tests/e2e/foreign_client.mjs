// A client made with Node's `ws`: node foreign_client.mjs ROOT URL_A URL_B TOKEN. Prints what comes, a line each.
//
// Connects to A with the token among the subprotocols and compression on, joins a group and sends commands; when the
// event `move` comes, goes to B with its cursor by a first `auth` frame; after the event `leave`, closes.
import { createRequire } from 'node:module'

const [root, urlA, urlB, token] = process.argv.slice(2)
const WebSocket = createRequire(root + '/')('ws')
const print = (what) => console.log(JSON.stringify(what))
let cursor

function open(where, url, protocols, first) {
  const socket = new WebSocket(url, protocols, { perMessageDeflate: true })
  const send = (type, data) => socket.send(JSON.stringify({ type, message_id: `${where}-${type}`, data }))
  socket.on('open', () => {
    print({ where, opened: socket.protocol, extensions: socket.extensions })
    if (first) send('auth', first())
  })
  socket.on('message', (payload, isBinary) => {
    const frame = JSON.parse(payload)
    print({ where, frame, isBinary })
    cursor = frame.id ?? (frame.type === 'welcome' ? frame.data.cursor : cursor)
    if (frame.type === 'welcome' && where === 'A') {
      send('join_group', { group_id: 'g' })
      send('echo', { text: 'grüße 漢字 😀', big: 'x'.repeat(50000) })
      send('send_message', { group_id: 'g', content: 'from node' })
      socket.ping()
    }
    if (frame.type === 'move') socket.close(1000, 'moving')
    if (frame.type === 'leave') socket.close(4000, 'left')
  })
  socket.on('pong', () => print({ where, pong: true }))
  socket.on('error', (error) => print({ where, error: error.message }))
  socket.on('unexpected-response', (_, response) => {
    let body = ''
    response.on('data', (chunk) => (body += chunk))
    response.on('end', () => print({ where, status: response.statusCode, body: JSON.parse(body) }))
  })
  socket.on('close', (code, reason) => {
    print({ where, closed: code, reason: reason.toString() })
    if (where === 'A') open('B', urlB, ['tidegate.v1'], () => ({ token, cursor }))
    if (where === 'B') open('C', urlA + '?token=nonsense', [])
  })
}

open('A', urlA, ['tidegate.v1', `bearer.${token}`])
