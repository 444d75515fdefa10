// Who uses the page: the token, the connection, and the calls of the HTTP API. Tokens are in memory only.

import { Tidegate } from './tidegate.js'

const ROOT = new URL('.', document.baseURI).href

export const bus = new EventTarget()
export const tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }))
export const listen = (name, listener) => bus.addEventListener(name, ({ detail }) => listener(detail))

/** What the gateway said when it was asked for something; `status` 0 is no answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

export const session = {
  config: undefined,
  tide: undefined,
  token: undefined,
  renew: undefined,
  credential: undefined,
  status: 'none',

  async load() {
    this.config = await ask('GET', 'console/config.json', { credential: null })
  },

  /** Connect as the token says; `renew` gets another of its kind. */
  open(token, { credential, renew } = {}) {
    this.close()
    this.token = token
    this.renew = renew
    this.credential = credential || undefined
    this.connect()
  },

  connect() {
    this.tide?.close()
    const tide = new Tidegate(this.config.websocket_url, {
      getToken: async ({ refresh }) => {
        if (refresh) this.token = await this.renew?.()
        return this.token
      },
      api: ROOT.replace(/\/$/, ''),
      echo: true,
      WebSocket: Tapped,
      timeoutMs: 15_000,
    })
    this.tide = tide
    tide.on('status', (change) => this.tide === tide && this.turn(change))
    for (const name of ['notification', 'unread_count', 'presence', 'resync']) tide.on(name, (data) => tell(name, data))
    tide.on('error', () => {}) // whoever asked says it
    this.turn({ status: 'connecting' })
  },

  disconnect() {
    this.tide?.close()
    this.turn({ status: 'closed' })
  },

  close() {
    this.tide?.close()
    Object.assign(this, { tide: undefined, token: undefined, renew: undefined, credential: undefined })
  },

  turn(change) {
    this.status = change.status
    tell('status', change)
  },

  /** Whether there is something to publish with; what is no JWT is a key. */
  get mayPush() {
    return this.credential !== undefined || scopesOf(this.token).includes('push')
  },
}

/** Call the HTTP API as a service, or with another credential. */
export const ask = async (method, path, { body, credential = session.credential ?? session.token } = {}) => {
  const headers = { ...(credential && { Authorization: `Bearer ${credential}` }), ...(body && { 'Content-Type': 'application/json' }) }
  let answer
  try {
    answer = await fetch(ROOT + path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' })
  } catch {
    throw new ApiError(0, 'The gateway does not answer')
  }
  const text = await answer.text()
  let said
  try {
    said = text ? JSON.parse(text) : undefined
  } catch {
    said = undefined
  }
  if (!answer.ok) throw new ApiError(answer.status, said?.detail ?? `${answer.status} ${answer.statusText}`)
  return said
}

/** What a token says of itself. Nothing depends on it but what the page offers: the gateway decides. */
export const claimsOf = (token) => {
  try {
    const text = atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(text, (byte) => byte.charCodeAt(0)))) ?? {}
  } catch {
    return {}
  }
}

const scopesOf = (token) => {
  const { scope } = claimsOf(token ?? '')
  return Array.isArray(scope) ? scope : String(scope ?? '').split(' ')
}

/** A WebSocket that shows what passes. */
class Tapped extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols)
    this.addEventListener('message', ({ data }) => tell('frame', { text: data, sent: false }))
    this.addEventListener('close', ({ code, reason }) => tell('closed', { code, reason }))
  }

  send(text) {
    super.send(text)
    tell('frame', { text, sent: true })
  }
}
