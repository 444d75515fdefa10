/**
 * Tidegate's client for browsers, Node and React Native: the protocol `tidegate.v1`, without dependencies.
 *
 *     const tide = new Tidegate('wss://push.example.com/ws', { getToken: () => fetchMyToken() })
 *     tide.on('order.shipped', (data) => show(data.order))
 *     await tide.join('chat-1')
 *     await tide.send('chat-1', 'Hello!')
 *
 * Four parts, each knowing only the one below it:
 *
 *     Tidegate    what an application sees: promises, listeners, what it has joined
 *     Shared      carries its commands to the one connection of all tabs (only by option)
 *     Connection  a WebSocket, a timer and a token: does what the Course says
 *     Course      decides: pure, without socket, clock or timer
 *
 * The types are in tidegate.d.ts; docs/javascript.md shows how to use it, docs/protocol.md what goes over the wire.
 */

const STOP = [4400, 4403, 4409] // reconnecting would end in the same way
const UNAUTHENTICATED = 4401
const RATE = 4429
const LOST = 1006

const CONNECT_MS = 15_000 // for the handshake, `auth` and `welcome` together
const PONG_MS = 10_000 // for the answer to a ping
const LATE_MS = 2_000 // a timer that is later than this slept, and proves nothing about the peer
const STABLE_MS = 10_000 // a connection that lived so long has ended a row of failures
const RETRY_MS = 1_000 // after a refusal that does not say when to try again

const WINDOW = 32 // commands on their way: half of the gateway's `limits.pending_commands`
const REMEMBERED = 4_096 // ids, to tell what comes twice

/** Events of the client's own. An event of a producer that has such a name goes to the listeners of `*` only. */
const OWN = ['status', 'resync', 'error', '*']

/** Commands that put the connection at an address; and, by its kind, the one that takes it away, with its field. */
const JOINS = ['join_group', 'subscribe', 'add_tag']
const LEAVES = { group: ['leave_group', 'group_id'], topic: ['unsubscribe', 'topic'], tag: ['remove_tag', 'tag'] }

const now = () => performance.now() // monotonic: nobody sets this clock
const quietly = () => {}

/** A failed command. `code` is the gateway's number, or 'timeout', 'overflow', 'stopped' or 'closed'. */
export class TidegateError extends Error {
  /**
   * @param {number | string} code
   * @param {string} message
   * @param {string} [command] the type of what failed
   */
  constructor(code, message, command) {
    super(message)
    this.name = 'TidegateError'
    this.code = code
    this.command = command
  }
}

/** The last so many of something. */
export class Recent {
  /** @type {Set<string>} */
  #items = new Set()

  /** @param {number} most */
  constructor(most) {
    this.most = most
  }

  /** @param {string | null | undefined} item */
  has(item) {
    return item != null && this.#items.has(item)
  }

  /**
   * Note it; tell whether it is new.
   * @param {string} item
   */
  add(item) {
    if (this.#items.has(item)) return false
    this.#items.add(item)
    if (this.#items.size > this.most) this.#items.delete(this.#items.values().next().value ?? '')
    return true
  }
}

/**
 * The course of a connection: what happened goes in, with the time; what to do comes out, as `[what, argument]`.
 *
 *     idle ─start─▶ token ─token─▶ opening ─opened─▶ greeting ─welcome─▶ online
 *                     ▲               │ closed          │ closed           │ closed
 *                     │               ▼                 ▼                  ▼
 *                     └────────due─ waiting ◀───────────┴──────────────────┴──▶ stopped
 *                                                         4400 4403 4409, or 4401 twice
 *
 * What to do: `token` (get one; the argument: not the one we have), `open` a socket, `send` a frame, `drop` the socket,
 * `tell` the application. Whoever does it calls `time` at `wakeAt`, too.
 */
export class Course {
  /** @type {'idle' | 'token' | 'opening' | 'greeting' | 'online' | 'waiting' | 'stopped'} */
  phase = 'idle'
  wakeAt = Infinity
  #failures = 0
  #refused = false // the last token was: one more try, with another
  #offline = false
  #patient = false // the gateway said how long to wait, and nobody may shorten that
  #heartbeatMs = Infinity
  #pingAt = Infinity
  #deadAt = Infinity // finite while an answer to a ping is awaited
  #onlineAt = 0
  /** @type {number | undefined} */ #askedMs
  /** @type {string | undefined} */ #since
  /** @type {string | undefined} */ #token

  /** @param {{ minWaitMs?: number, maxWaitMs?: number, random?: () => number }} [options] */
  constructor({ minWaitMs = 1_000, maxWaitMs = 30_000, random = Math.random } = {}) {
    this.minWaitMs = minWaitMs
    this.maxWaitMs = maxWaitMs
    this.random = random
  }

  /** Begin, or begin again after a stop. @returns {Step[]} */
  start() {
    if (this.phase !== 'idle' && this.phase !== 'stopped') return []
    this.#failures = 0
    this.#refused = false
    return this.#connect()
  }

  /** @returns {Step[]} */
  #connect() {
    this.phase = 'token'
    this.wakeAt = Infinity // getting a token may need its user, who has all the time in the world
    return [['tell', { status: 'connecting' }], ['token', this.#refused]]
  }

  /**
   * A token is there; nothing, where nobody is logged in.
   * @param {string | null | undefined} token
   * @param {number} time
   * @returns {Step[]}
   */
  token(token, time) {
    if (this.phase === 'token') {
      if (!token) return this.#stop(UNAUTHENTICATED, 'no token')
      this.#token = token
      this.phase = 'opening'
      this.wakeAt = time + CONNECT_MS
      return [['open', undefined]]
    }
    return this.phase === 'online' && token ? [['send', { type: 'auth', data: { token } }]] : []
  }

  /**
   * No token could be had: that is no refusal.
   * @param {number} time
   * @returns {Step[]}
   */
  noToken(time) {
    return this.phase === 'token' ? this.#wait(LOST, 'getToken failed', time) : []
  }

  /**
   * The socket is open.
   * @param {string | undefined} cursor where to go on
   * @returns {Step[]}
   */
  opened(cursor) {
    if (this.phase !== 'opening') return []
    this.phase = 'greeting'
    this.#since = cursor
    return [['send', { type: 'auth', data: { token: this.#token, cursor } }]]
  }

  /**
   * A frame came.
   * @param {Frame} frame
   * @param {number} time
   * @returns {Step[]}
   */
  frame(frame, time) {
    this.#deadAt = Infinity // whoever sends, lives
    if (this.phase === 'online') this.wakeAt = this.#pingAt
    if (frame.id === undefined) {
      if (frame.type === 'welcome') return this.#welcome(frame.data, time)
      if (frame.type === 'going_away') this.#askedMs = frame.data.reconnect_in_ms
      if (frame.type === 'token_expiring') return [['token', true]]
      if (this.phase === 'greeting' && frame.type === 'error') {
        this.#askedMs = frame.data.retry_after_ms // `auth` cannot be looked at now
        return this.#lose('auth was not answered', time)
      }
    }
    return [['tell', { frame }]]
  }

  /**
   * @param {Welcome} welcome
   * @param {number} time
   * @returns {Step[]}
   */
  #welcome(welcome, time) {
    this.phase = 'online'
    this.#refused = false
    this.#onlineAt = time
    this.#heartbeatMs = welcome.heartbeat_s * 1_000
    this.wakeAt = this.#pingAt = time + this.#heartbeatMs
    return [['tell', { up: welcome, since: this.#since }]]
  }

  /**
   * The socket is gone.
   * @param {number} code
   * @param {string} reason
   * @param {number} time
   * @returns {Step[]}
   */
  closed(code, reason, time) {
    if (this.phase !== 'opening' && this.phase !== 'greeting' && this.phase !== 'online') return []
    if (this.phase === 'online' && time - this.#onlineAt >= STABLE_MS) this.#failures = 0
    if (STOP.includes(code) || (code === UNAUTHENTICATED && this.#refused)) return this.#stop(code, reason)
    if (code === UNAUTHENTICATED) {
      this.#refused = true // a token that was good has ended, as often as not: get another, and try at once
      return this.#connect()
    }
    if (code === RATE) this.#failures += 3
    return this.#wait(code, reason, time)
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @returns {Step[]}
   */
  #stop(code, reason) {
    this.phase = 'stopped'
    this.wakeAt = Infinity
    return [['tell', { status: 'stopped', code, reason }]]
  }

  /**
   * Wait with full jitter: a random part of a time that doubles, so that those who fell together do not return together.
   * @param {number} code
   * @param {string} reason
   * @param {number} time
   * @returns {Step[]}
   */
  #wait(code, reason, time) {
    const longest = this.#offline ? this.maxWaitMs : Math.min(this.maxWaitMs, this.minWaitMs * 2 ** this.#failures)
    const ms = this.#askedMs ?? this.random() * longest
    this.#patient = this.#askedMs !== undefined || code === RATE
    this.#askedMs = undefined
    this.#failures += 1
    this.phase = 'waiting'
    this.wakeAt = time + ms
    return [['tell', { status: 'offline', code, reason, retry_in_ms: Math.round(ms) }]]
  }

  /**
   * Give a socket up that does not answer; its own `close` could take minutes.
   * @param {string} reason
   * @param {number} time
   * @returns {Step[]}
   */
  #lose(reason, time) {
    return [['drop', undefined], ...this.closed(LOST, reason, time)]
  }

  /**
   * It is so late.
   * @param {number} time
   * @returns {Step[]}
   */
  time(time) {
    if (time < this.wakeAt) return []
    if (this.phase === 'waiting') return this.#connect()
    if (this.phase !== 'online') return this.#lose('no welcome in time', time)
    // After a sleep the pong may lie in the queue behind this timer, so ask once more.
    if (time >= this.#deadAt && time < this.#deadAt + LATE_MS) return this.#lose('no sign of life', time)
    return this.#ping(time)
  }

  /**
   * @param {number} time
   * @returns {Step[]}
   */
  #ping(time) {
    this.#pingAt = time + this.#heartbeatMs
    this.wakeAt = this.#deadAt = time + Math.min(PONG_MS, this.#heartbeatMs)
    return [['send', { type: 'ping' }]]
  }

  /**
   * Somebody looks, or the network has changed: is the connection still there?
   * @param {number} time
   * @returns {Step[]}
   */
  wake(time) {
    if (this.phase === 'waiting' && !this.#patient && !this.#offline) return this.#connect()
    return this.phase === 'online' && this.#deadAt === Infinity ? this.#ping(time) : []
  }

  /**
   * The system says whether there is a network. "No" only means longer waits: it has been wrong before.
   * @param {boolean} there
   * @param {number} time
   * @returns {Step[]}
   */
  network(there, time) {
    this.#offline = !there
    if (there) this.#failures = 0
    return this.wake(time)
  }
}

/** One token for all who need it, so that `getToken` runs once at a time. */
class Tokens {
  /** @type {string | null | undefined} */ #token
  /** @type {Promise<string | null | undefined> | undefined} */ #asking

  /** @param {GetToken} getToken */
  constructor(getToken) {
    this.getToken = getToken
  }

  /**
   * @param {boolean} another not the one we have
   * @returns {Promise<string | null | undefined>}
   */
  async get(another) {
    if (this.#token && !another) return this.#token
    const asking = async () => this.getToken({ refresh: another })
    this.#asking ??= asking().finally(() => (this.#asking = undefined))
    return (this.#token = await this.#asking)
  }
}

/** One connection after another, as the course has it. */
class Connection {
  /** @type {Socket | undefined} */ #socket
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer
  #timerAt = Infinity
  #ended = false
  #options
  #tell

  /**
   * @param {ConnectionOptions} options
   * @param {(message: Message) => void} tell
   */
  constructor(options, tell) {
    this.#options = options
    this.#tell = tell
    this.course = new Course(options)
    if (globalThis.navigator?.onLine === false) this.course.network(false, now())
  }

  start() {
    this.#do(this.course.start())
  }

  /** @param {boolean} [network] */
  wake(network) {
    this.#do(network === undefined ? this.course.wake(now()) : this.course.network(network, now()))
  }

  /**
   * Send, if there is a connection: whoever wants it sent again, does so at the next `up`.
   * @param {string} text
   * @param {object} [_command] for `Shared`
   */
  send(text, _command) {
    if (this.course.phase === 'online') this.#socket?.send(text)
  }

  close() {
    this.#ended = true
    clearTimeout(this.#timer)
    this.#drop(1000)
  }

  /** @param {Step[]} steps */
  #do(steps) {
    for (const [what, argument] of steps) {
      if (this.#ended) return // a listener has closed us
      if (what === 'tell') this.#tell(argument)
      else if (what === 'send') this.#socket?.send(JSON.stringify(argument))
      else if (what === 'open') this.#open()
      else if (what === 'drop') this.#drop()
      else this.#getToken(argument)
    }
    this.#setTimer()
  }

  #setTimer() {
    const { wakeAt } = this.course
    if (this.#ended || wakeAt === this.#timerAt) return
    clearTimeout(this.#timer)
    this.#timerAt = wakeAt
    if (wakeAt === Infinity) return
    const ring = () => {
      this.#timerAt = Infinity
      this.#do(this.course.time(now()))
    }
    this.#timer = setTimeout(ring, Math.ceil(wakeAt - now()))
  }

  /** @param {boolean} another */
  async #getToken(another) {
    try {
      const token = await this.#options.tokens.get(another)
      if (!this.#ended) this.#do(this.course.token(token, now()))
    } catch (error) {
      if (this.#ended) return
      this.#tell({ error: `getToken failed: ${error}` })
      this.#do(this.course.noToken(now()))
    }
  }

  #open() {
    const socket = (this.#socket = new this.#options.WebSocket(this.#options.url, ['tidegate.v1']))
    /** @param {(event: any) => Step[]} steps @returns {(event: any) => void} */
    const whileOurs = (steps) => (event) => socket === this.#socket && this.#do(steps(event))
    socket.onopen = whileOurs(() => this.course.opened(this.#options.cursor()))
    socket.onmessage = whileOurs(({ data }) => this.course.frame(JSON.parse(data), now()))
    socket.onclose = whileOurs(({ code, reason }) => {
      this.#socket = undefined
      return this.course.closed(code, String(reason), now())
    })
    socket.onerror = quietly // `close` follows; but Node's `ws` throws where nobody listens
  }

  /** @param {number} [code] */
  #drop(code) {
    const socket = this.#socket
    this.#socket = undefined
    socket?.close(code)
  }
}

/**
 * One connection for all tabs of an origin: the tab that holds the lock has it, the others talk to that one.
 *
 * The browser gives the lock to the next tab when a tab ends in whatever way. Nothing is handed over: every tab has read
 * the same pushes, so the next one resumes from its own cursor, and at `up` every tab sends again what was not answered.
 */
class Shared {
  #tab = newId()
  #ended = new AbortController()
  /** @type {Connection | undefined} */ #connection
  /** @type {Message | undefined} what a tab that comes later has to know first */ #state
  /** @type {Map<string, Set<string>>} which tabs are at an address, for the last one's leave */ #tabsAt = new Map()
  /** @type {Set<string>} */ #watched = new Set()
  #lives = false
  #name
  #connect
  #cursor
  #tell
  #channel

  /**
   * @param {string} name
   * @param {(tell: (message: Message) => void) => Connection} connect
   * @param {() => string | undefined} cursor
   * @param {(message: Message) => void} tell
   */
  constructor(name, connect, cursor, tell) {
    this.#name = name
    this.#connect = connect
    this.#cursor = cursor
    this.#tell = tell
    this.#channel = new BroadcastChannel(name)
    this.#channel.onmessage = ({ data }) => this.#hear(data)
  }

  start() {
    if (this.#lives) return this.#post({ start: true })
    // The lock of its own says that a tab lives; only then may it be heard of. See `#watch`.
    this.#hold(`${this.#name} ${this.#tab}`, () => {
      this.#lives = true
      this.#channel.postMessage({ from: this.#tab, hello: true, start: true })
      this.#hold(this.#name, () => this.#lead())
    })
  }

  /** @param {boolean} [network] */
  wake(network) {
    this.#post({ wake: true, network })
  }

  /**
   * @param {string} text
   * @param {{ type: string, message_id?: string, address?: string }} command
   */
  send(text, { type, message_id, address }) {
    this.#post({ text, type, message_id, address })
  }

  /** Tell the other tabs only. @param {Message} message */
  share(message) {
    this.#channel.postMessage(message)
  }

  close() {
    this.#ended.abort()
    this.#connection?.close()
    this.#channel.close()
  }

  /**
   * Hold a lock from when it is free to the end.
   * @param {string} name
   * @param {() => void} then
   */
  #hold(name, then) {
    const held = () => {
      if (this.#ended.signal.aborted) return
      then()
      return new Promise((resolve) => this.#ended.signal.addEventListener('abort', resolve))
    }
    navigator.locks.request(name, { signal: this.#ended.signal }, held).catch(quietly)
  }

  #lead() {
    this.#connection = this.#connect((message) => {
      if (message.up || message.status) this.#state = message
      this.#channel.postMessage(message)
      this.#tell(message)
    })
    this.#connection.start()
  }

  /** @param {Request} request */
  #post(request) {
    if (this.#connection) this.#obey(this.#tab, request)
    else this.#channel.postMessage({ from: this.#tab, ...request })
  }

  /** @param {any} message of the tab that leads, or for it */
  #hear({ from, to, ...message }) {
    if (from) this.#connection && this.#obey(from, message)
    else if (this.#lives && (!to || to === this.#tab)) this.#tell(message)
  }

  /**
   * Lead: do what a tab asks for.
   * @param {string} tab
   * @param {Request} request
   */
  #obey(tab, request) {
    if (request.start) this.#connection?.start() // with another login, where the last one was refused
    if (request.hello) this.#greet(tab)
    if (request.wake) this.#connection?.wake(request.network)
    if (request.text) this.#carry(tab, request)
  }

  /**
   * Tell a tab that comes later where we stand: it has missed nothing, so there is nothing to join `since`.
   * @param {string} tab
   */
  #greet(tab) {
    const up = this.#state?.up
    const state = up ? { up: { ...up, cursor: this.#cursor() } } : this.#state
    this.#channel.postMessage({ to: tab, ...state })
  }

  /**
   * Send a tab's command, unless it leaves where another tab still is.
   * @param {string} tab
   * @param {Request} request
   */
  #carry(tab, { text = '', type = '', message_id, address }) {
    if (address && JOINS.includes(type)) {
      this.#tabsAt.set(address, (this.#tabsAt.get(address) ?? new Set()).add(tab))
      this.#watch(tab)
    } else if (address && !this.#isLastToLeave(tab, address)) {
      const message = { frame: { type: 'ack', message_id, data: { success: true } } }
      return tab === this.#tab ? this.#tell(message) : this.#channel.postMessage({ to: tab, ...message })
    }
    this.#connection?.send(text)
  }

  /**
   * @param {string} tab
   * @param {string} address
   */
  #isLastToLeave(tab, address) {
    const tabs = this.#tabsAt.get(address)
    tabs?.delete(tab)
    if (tabs?.size) return false
    this.#tabsAt.delete(address)
    return true
  }

  /** Leave for a tab that has ended: we get its lock then. @param {string} tab */
  #watch(tab) {
    if (tab === this.#tab || this.#watched.has(tab)) return
    this.#watched.add(tab)
    const gone = () => {
      this.#watched.delete(tab)
      for (const [address, tabs] of [...this.#tabsAt]) {
        if (!tabs.has(tab) || !this.#isLastToLeave(tab, address)) continue
        this.#connection?.send(JSON.stringify(leaving(address)))
      }
    }
    navigator.locks.request(`${this.#name} ${tab}`, { signal: this.#ended.signal }, gone).catch(quietly)
  }
}

/** What a tab wants of the gateway, and has from it. */
export class Tidegate {
  /** @type {Status} */
  status = 'connecting'
  /** @type {string | undefined} the position up to which everything was handed out: keep it, to go on from there */
  cursor
  /** @type {Welcome | undefined} what the gateway said first */
  welcome
  /** @type {Map<string, Command>} what was not answered, by `message_id`, in the order to send it in */
  #pending = new Map()
  /** @type {Map<string, Place>} where the connection was put by command, by address */
  #places = new Map()
  /** @type {Map<string, Set<Listener>>} */
  #listeners = new Map()
  #seen = new Recent(REMEMBERED)
  #mine = new Recent(REMEMBERED)
  #ended = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} while the gateway wants a pause */ #pause
  #window = WINDOW
  #options
  #tokens
  #line

  /**
   * @param {string} url of the endpoint, such as wss://push.example.com/ws
   * @param {Options} options
   */
  constructor(url, options) {
    const { getToken, cursor, share = false, WebSocket = globalThis.WebSocket } = options
    const { queue = 100, timeoutMs = 30_000, echo = false } = options
    const { api = url.replace(/^ws(s?:..[^/?]+).*/, 'http$1') } = options
    if (typeof getToken !== 'function') throw new TypeError('getToken: give a function that returns a token')
    if (!WebSocket) throw new TypeError('WebSocket: there is none here; give one, such as that of the package `ws`')
    this.#options = { api, queue, timeoutMs, echo }
    this.#tokens = new Tokens(getToken)
    this.cursor = cursor
    const position = () => this.cursor
    /** @param {Message} message */
    const take = (message) => this.#take(message)
    /** @param {(message: Message) => void} tell */
    const connect = (tell) => new Connection({ ...options, url, WebSocket, tokens: this.#tokens, cursor: position }, tell)
    const canShare = share && globalThis.BroadcastChannel && globalThis.navigator?.locks
    this.#line = canShare ? new Shared(`tidegate ${url} ${share}`, connect, position, take) : connect(take)
    this.#watchSurroundings()
    this.#line.start()
  }

  /** Connect again after a stop: with a new login, say. */
  connect() {
    this.#line.start()
  }

  /** Check the connection now, or reconnect now. Apps call this when they come to the foreground; pages need not. */
  wake() {
    this.#line.wake()
  }

  /** The end: what is not answered is refused, and nothing more is heard. */
  close() {
    if (this.status === 'closed') return
    this.#ended.abort()
    this.#line.close()
    clearTimeout(this.#pause)
    this.#turn('closed')
  }

  /**
   * Listen for events of a name, or for `*`, `status`, `resync`, `error`. Returns the function that ends it.
   * @param {string} name
   * @param {Listener} listener called with the event's data and its frame
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set()
    this.#listeners.set(name, listeners.add(listener))
    return () => void listeners.delete(listener)
  }

  // Where to be. These last over reconnects, and have no time-out: they hold until they are taken back or refused.

  /** @param {string} group_id */
  join(group_id) {
    return this.#join(`group:${group_id}`, 'join_group', { group_id })
  }

  /** @param {string} group_id */
  leave(group_id) {
    return this.#leave(`group:${group_id}`)
  }

  /**
   * @param {string} topic
   * @param {{ filter?: unknown }} [options]
   */
  subscribe(topic, { filter } = {}) {
    return this.#join(`topic:${topic}`, 'subscribe', { topic, filter })
  }

  /** @param {string} topic */
  unsubscribe(topic) {
    return this.#leave(`topic:${topic}`)
  }

  /** @param {string} tag */
  addTag(tag) {
    return this.#join(`tag:${tag}`, 'add_tag', { tag })
  }

  /** @param {string} tag */
  removeTag(tag) {
    return this.#leave(`tag:${tag}`)
  }

  // Chat.

  /**
   * Write to a group. The promise is kept once the message is stored, exactly once however often it had to be sent.
   * @param {string} group_id
   * @param {unknown} content
   * @param {SendOptions} [options]
   */
  send(group_id, content, options) {
    return this.#send({ group_id }, content, options)
  }

  /**
   * Write to a user.
   * @param {string} to
   * @param {unknown} content
   * @param {SendOptions} [options]
   */
  sendTo(to, content, options) {
    return this.#send({ to }, content, options)
  }

  /** Say that somebody is writing: now or never, so without a promise. @param {string} group_id */
  typing(group_id) {
    const frame = { type: 'typing', data: { group_id } }
    if (this.status === 'online') this.#line.send(JSON.stringify(frame), frame)
  }

  /**
   * @param {string} group_id
   * @param {string} message_id
   */
  recall(group_id, message_id) {
    return this.command('recall_message', { group_id, message_id })
  }

  /**
   * @param {string} group_id
   * @param {string} message_id up to which everything was read
   */
  markRead(group_id, message_id) {
    return this.#markRead({ group_id, message_id })
  }

  /**
   * @param {string} group_id
   * @param {{ before?: string, limit?: number }} [options]
   */
  history(group_id, { before, limit } = {}) {
    return this.command('get_history', { group_id, before, limit })
  }

  // Who is there.

  /** The users in a group. @param {string} group_id */
  async presence(group_id) {
    return (await this.command('get_presence', { group_id })).users
  }

  /** Which of these users are online. @param {string[]} user_ids */
  async online(user_ids) {
    return (await this.command('get_online_status', { user_ids })).online
  }

  /** The inbox. `unread` is kept up to date. */
  notifications = {
    /** @type {number | undefined} */
    unread: undefined,

    /** A page of them, by HTTP. @param {import('./tidegate.js').NotificationQuery} [query] */
    list: async (query = {}) => {
      const page = await this.#get('/api/v1/notifications', query)
      this.#count(page)
      return page
    },

    /** @param {string | string[]} ids one, several, or 'all' */
    markRead: (ids) => this.#markRead(ids === 'all' ? { all: true } : { notification_ids: [ids].flat() }),
  }

  /**
   * Any other command of the gateway or its plug-ins; a promise of its reply's data.
   * @param {string} type
   * @param {object} [data]
   * @returns {Promise<any>}
   */
  command(type, data) {
    return this.#ask({ type, data })
  }

  // Commands: each is in `#pending` until it is answered, and sent again at every `up` until then.

  /**
   * @param {Asked} asked
   * @returns {Promise<any>}
   */
  #ask({ type, data, message_id = newId(), address, then = quietly }) {
    const known = this.#pending.get(message_id)
    if (known?.promise) return known.promise
    /** @type {Command} */
    const command = { type, message_id, address, then, text: '', resolve: quietly, reject: quietly }
    const promise = new Promise((resolve, reject) => {
      Object.assign(command, { resolve, reject, text: JSON.stringify({ type, message_id, data }) })
    })
    command.promise = promise
    promise.catch((error) => this.#emit('error', error)) // who does not await it hears of it there
    const refusal = this.#refusal(command)
    if (refusal) command.reject(refusal)
    else {
      this.#pending.set(message_id, command)
      const late = () => this.#settle(command, new TidegateError('timeout', 'no answer in time', type))
      if (!address) command.timer = setTimeout(late, this.#options.timeoutMs)
      this.#pump()
    }
    return promise
  }

  /** @param {Command} command */
  #refusal({ type, address, text }) {
    if (!text) return undefined // JSON has refused it already
    const { status } = this
    if (status === 'stopped' || status === 'closed') return new TidegateError(status, 'no connection', type)
    const queued = [...this.#pending.values()].filter((other) => !other.address && !other.repeats).length
    if (address || queued < this.#options.queue) return undefined
    return new TidegateError('overflow', `${queued} commands wait already`, type)
  }

  /** Send what waits, but only so much at once that a gateway that limits rates stays friendly. */
  #pump() {
    if (this.status !== 'online' || this.#pause) return
    let room = this.#window
    for (const { sent } of this.#pending.values()) if (sent) room -= 1
    const most = this.welcome?.max_message_bytes ?? Infinity
    for (const command of [...this.#pending.values()].filter(({ sent }) => !sent)) {
      if (room-- <= 0) return
      command.sent = true
      if (command.text.length * 3 > most && bytesOf(command.text) > most) {
        this.#settle(command, new TidegateError(413, `the message is over ${most} bytes`, command.type)) // or close 1009
      } else this.#line.send(command.text, command)
    }
  }

  /**
   * A reply came.
   * @param {Command} command
   * @param {Frame} frame
   */
  #answer(command, { type, data }) {
    if (type !== 'error') {
      this.#window = Math.min(WINDOW, this.#window + 1)
      return this.#settle(command, undefined, data)
    }
    if (data.code !== 429 && data.code !== 503) {
      return this.#settle(command, new TidegateError(data.code, data.message, command.type))
    }
    command.sent = false // it was not carried out, or may be repeated under its id: later, and the others behind it
    this.#window = 1 // and slower: whoever is refused too often in a row is closed with 4429
    clearTimeout(this.#pause)
    const goOn = () => {
      this.#pause = undefined
      this.#pump()
    }
    this.#pause = setTimeout(goOn, data.retry_after_ms ?? RETRY_MS)
  }

  /**
   * @param {Command} command
   * @param {TidegateError} [error]
   * @param {any} [data]
   */
  #settle(command, error, data) {
    if (this.#pending.get(command.message_id) !== command) return
    this.#pending.delete(command.message_id)
    clearTimeout(command.timer)
    command.then(error, data) // at once: a promise's `then` may come after the next frame
    if (error) command.reject(error)
    else command.resolve(data)
    this.#pump()
  }

  /**
   * @param {string} address
   * @param {string} type
   * @param {object} data
   */
  #join(address, type, data) {
    /** @param {TidegateError | undefined} error @param {any} ack */
    const then = (error, ack) => error || this.#places.set(address, { type, data, since: ack.cursor, settled: true })
    return this.#ask({ type, data, address, then })
  }

  /** @param {string} address */
  #leave(address) {
    const then = () => this.#places.delete(address) // a join before it, not answered yet, would bring it back
    this.#places.delete(address)
    return this.#ask({ ...leaving(address), address, then })
  }

  /**
   * Commands that put a new connection where the last one was.
   *
   * `since` belongs to each place: what one has missed may be older than what others have had since. It holds until a
   * `pong` that comes after the join's answer: replies are in order, so all that was to be repeated came before it. Until
   * then, a place is resumed from where it stood, even if the connection breaks again and again.
   * @param {string | undefined} since
   */
  #again(since) {
    const commands = [...this.#places].map(([address, place]) => {
      place.settled = false
      place.since ??= since
      /** @param {TidegateError} [error] */
      const then = (error) => {
        place.settled = true
        if (!error) return
        this.#places.delete(address) // the policy has changed, say
        this.#emit('error', error)
      }
      return repeated({ type: place.type, data: { ...place.data, since: place.since }, address, then })
    })
    return commands.length ? [...commands, repeated({ type: 'ping' })] : []
  }

  /**
   * @param {object} target
   * @param {any} content
   * @param {SendOptions} [options]
   */
  async #send(target, content, { type, messageId = newId() } = {}) {
    const data = { ...target, msg_type: type, content }
    this.#mine.add(messageId)
    /** @param {TidegateError | undefined} error @param {any} ack */
    const then = (error, ack) => error || this.#share(messageId, data, ack.id)
    const ack = await this.#ask({ type: 'send_message', data, message_id: messageId, then })
    return { ...ack, message_id: messageId }
  }

  /**
   * Show the other tabs what this one has written: on their common connection it does not come back.
   * @param {string} message_id
   * @param {object} data
   * @param {string} id
   */
  #share(message_id, data, id) {
    const message = { msg_type: 'text', ...JSON.parse(JSON.stringify(data)), from: this.welcome?.user_id }
    const frame = { type: 'new_message', message_id, timestamp: Date.now(), id, data: message }
    if (this.#line instanceof Shared) this.#line.share({ frame, aside: true })
  }

  /** @param {object} data */
  #markRead(data) {
    /** @param {TidegateError | undefined} error @param {any} ack */
    const then = (error, ack) => error || this.#count(ack)
    return this.#ask({ type: 'mark_read', data, then })
  }

  // What comes.

  /** @param {Message} message */
  #take({ up, since, status, frame, aside, error, ...facts }) {
    if (this.status === 'closed') return
    if (up) this.#up(up, since)
    else if (status) this.#turn(status, facts)
    else if (error) this.#emit('error', new TidegateError('token', error))
    else if (frame?.id !== undefined) this.#event(frame, aside)
    else if (frame) this.#frame(frame)
  }

  /**
   * A connection stands: be again where we were, send again what was not answered.
   * @param {Welcome} welcome
   * @param {string | undefined} since the cursor that it was opened with
   */
  #up(welcome, since) {
    if (this.status === 'online' && this.welcome?.client_id === welcome.client_id) return // a tab hears it twice
    this.welcome = welcome
    this.cursor = welcome.cursor
    this.#count(welcome)
    const waiting = [...this.#pending.values()].filter(({ repeats }) => !repeats)
    const queue = [...this.#again(since), ...waiting]
    this.#pending = new Map(queue.map((command) => [command.message_id, Object.assign(command, { sent: false })]))
    this.status = 'online'
    this.#pump() // before a listener can say more
    this.#emit('status', { status: 'online', resumed: welcome.resumed })
  }

  /**
   * @param {Status} status
   * @param {object} [facts]
   */
  #turn(status, facts) {
    this.status = status
    if (status === 'stopped' || status === 'closed') {
      for (const command of [...this.#pending.values()]) {
        if (command.repeats) this.#pending.delete(command.message_id) // the place is kept, for `connect`
        else this.#settle(command, new TidegateError(status, 'no connection', command.type))
      }
    }
    this.#emit('status', { status, ...facts })
  }

  /**
   * @param {Frame} frame
   * @param {boolean} [aside] it came past the connection, and so says nothing about its position
   */
  #event(frame, aside) {
    const { type, data, id = '', message_id } = frame
    if (!aside) this.cursor = id
    if (!this.#seen.add(id)) return
    // After a reconnect, the log does not know any more that these are ours.
    if (type === 'new_message' && !this.#options.echo && this.#mine.has(message_id)) return
    if (type === 'unread_count') this.notifications.unread = data.unread_count
    if (!OWN.includes(type)) this.#emit(type, data, frame)
    this.#emit('*', data, frame)
  }

  /** @param {Frame} frame */
  #frame(frame) {
    const { type, data, message_id } = frame
    if (type === 'pong' || type === 'resync') this.cursor = data.cursor ?? this.cursor
    if (type === 'pong') for (const place of this.#places.values()) if (place.settled) place.since = undefined
    const command = this.#pending.get(message_id ?? '')
    if (command) this.#answer(command, frame)
    else if (type === 'resync') this.#emit('resync', data, frame)
    else if (type === 'error' && message_id === null) this.#emit('error', new TidegateError(data.code, data.message))
  }

  /** @param {{ unread_count?: number }} facts */
  #count({ unread_count }) {
    if (unread_count === undefined || unread_count === this.notifications.unread) return
    this.notifications.unread = unread_count
    this.#emit('unread_count', { unread_count })
  }

  /**
   * @param {string} name
   * @param {any} data
   * @param {Frame} [frame]
   */
  #emit(name, data, frame) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(data, frame)
      } catch (error) {
        console.error(error) // a bug of one listener is not the others'
      }
    }
  }

  /**
   * @param {string} path
   * @param {object} query
   * @returns {Promise<any>}
   */
  async #get(path, query) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined)
    const search = given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')
    for (const another of [false, true]) {
      const headers = { Authorization: `Bearer ${await this.#tokens.get(another)}` }
      const answer = await fetch(`${this.#options.api}${path}${search && '?'}${search}`, { headers })
      if (answer.ok) return answer.json()
      if (answer.status !== 401 || another) throw new TidegateError(answer.status, answer.statusText, path)
    }
  }

  #watchSurroundings() {
    /** @param {any} target @param {string} name @param {() => void} then */
    const on = (target, name, then) => target?.addEventListener?.(name, then, { signal: this.#ended.signal })
    on(globalThis, 'online', () => this.#line.wake(true))
    on(globalThis, 'offline', () => this.#line.wake(false))
    on(globalThis, 'pageshow', () => this.#line.wake())
    on(globalThis.document, 'visibilitychange', () => document.visibilityState === 'visible' && this.#line.wake())
  }
}

/** A command that no promise waits for, made anew for every connection. @param {Asked} asked @returns {Command} */
function repeated({ type, data, address, then = quietly }) {
  const message_id = newId()
  const text = JSON.stringify({ type, message_id, data })
  return { type, message_id, address, then, text, repeats: true, resolve: quietly, reject: quietly }
}

/** The command that takes the connection away from an address. @param {string} address */
function leaving(address) {
  const [kind, ...name] = address.split(':')
  const [type, field] = LEAVES[/** @type {'group' | 'topic' | 'tag'} */ (kind)]
  return { type, data: { [field]: name.join(':') } }
}

/** @param {string} text */
function bytesOf(text) {
  return globalThis.TextEncoder ? new TextEncoder().encode(text).length : text.length * 3
}

/** An id that nobody else has. `randomUUID` is for pages from https only. @returns {string} */
function newId() {
  const digit = () => Math.floor(Math.random() * 16).toString(16)
  return globalThis.crypto?.randomUUID?.() ?? Array.from({ length: 32 }, digit).join('')
}

/**
 * @typedef {import('./tidegate.js').Frame} Frame
 * @typedef {import('./tidegate.js').Welcome} Welcome
 * @typedef {import('./tidegate.js').Status} Status
 * @typedef {import('./tidegate.js').Options} Options
 * @typedef {import('./tidegate.js').SendOptions} SendOptions
 * @typedef {import('./tidegate.js').GetToken} GetToken
 * @typedef {(data: any, frame: any) => void} Listener
 *
 * @typedef {[what: 'tell' | 'send' | 'open' | 'drop' | 'token', argument?: any]} Step what the course wants done
 *
 * @typedef {object} Message what a connection tells, to one tab or to all
 * @property {Frame} [frame] that came
 * @property {boolean} [aside] whether the frame came past the connection
 * @property {Welcome} [up] a connection stands
 * @property {string} [since] the cursor that it was opened with
 * @property {Status} [status] with what belongs to it
 * @property {string} [error] of getting a token
 *
 * @typedef {object} Request what a tab asks of the one that has the connection
 * @property {boolean} [hello] tell me where we stand
 * @property {boolean} [start]
 * @property {boolean} [wake]
 * @property {boolean} [network]
 * @property {string} [text] a command
 * @property {string} [type] the command's
 * @property {string} [message_id] the command's
 * @property {string} [address] that it joins or leaves
 *
 * @typedef {object} Asked a command to be
 * @property {string} type
 * @property {object} [data]
 * @property {string} [message_id]
 * @property {string} [address] that it joins or leaves
 * @property {(error: TidegateError | undefined, data: any) => unknown} [then] called with the answer, before the promise
 *
 * @typedef {object} Command one that is not answered yet
 * @property {string} type
 * @property {string} message_id
 * @property {string} text the whole frame
 * @property {string} [address]
 * @property {boolean} [sent] on this connection
 * @property {boolean} [repeats] it belongs to this connection; the next one has its own
 * @property {ReturnType<typeof setTimeout>} [timer]
 * @property {Promise<any>} [promise]
 * @property {(error: TidegateError | undefined, data: any) => unknown} then
 * @property {(data: any) => void} resolve
 * @property {(error: TidegateError) => void} reject
 *
 * @typedef {object} Place where a command has put the connection
 * @property {string} type of the command
 * @property {object} data of the command
 * @property {boolean} settled whether it was answered on this connection
 * @property {string} [since] see `#again`
 *
 * @typedef {object} Socket what we use of a WebSocket
 * @property {((event: any) => void) | null} onopen
 * @property {((event: any) => void) | null} onmessage
 * @property {((event: any) => void) | null} onclose
 * @property {((event: any) => void) | null} onerror
 * @property {(text: string) => void} send
 * @property {(code?: number) => void} close
 *
 * @typedef {object} ConnectionOptions
 * @property {string} url
 * @property {new (url: string, protocols: string[]) => Socket} WebSocket
 * @property {Tokens} tokens
 * @property {() => string | undefined} cursor
 * @property {number} [minWaitMs]
 * @property {number} [maxWaitMs]
 */
