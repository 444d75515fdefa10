// The types of tidegate.js. The client itself is JavaScript: nothing has to be built.

/** A frame from the gateway. */
export interface Frame<Data = any> {
  type: string
  data: Data
  /** Names the event; a reply has that of its command. */
  message_id?: string | null
  /** When it was stored, in ms since 1970. */
  timestamp?: number
  /** The cursor of an event from the log. */
  id?: string
}

/** The first frame once authenticated. */
export interface Welcome {
  client_id: string
  session_id: string
  user_id: string
  cursor: string
  resumed: boolean
  heartbeat_s: number
  max_message_bytes: number
  unread_count?: number
}

export type Status = 'connecting' | 'online' | 'offline' | 'stopped' | 'closed'

export interface StatusChange {
  status: Status
  /** `online`: whether it goes on where the last connection ended. */
  resumed?: boolean
  /** `offline` and `stopped`: the WebSocket close code, and what the gateway said to it. */
  code?: number
  reason?: string
  /** `offline`: when it tries again. */
  retry_in_ms?: number
}

export interface Message {
  from: string
  from_name?: string
  group_id?: string
  to?: string
  msg_type: string
  content: any
}

export interface Notification {
  id: string
  type: string
  title: string
  content: string
  level: string
  priority?: string
  link?: string
  icon?: string
  data?: any
}

export interface Resync {
  reason: string
  cursor: string
  addresses: string[]
}

/**
 * The events whose data is known. Add your own to it:
 *
 *     declare module 'tidegate' { interface Events { 'order.shipped': { order: number } } }
 */
export interface Events {
  new_message: Message
  message_recalled: { group_id: string; message_id: string; [more: string]: any }
  message_read: { group_id: string; user_id: string; message_id: string; [more: string]: any }
  typing: { group_id: string; [more: string]: any }
  notification: Notification
  unread_count: { unread_count: number }
  presence: { group_id: string; user_id: string; action: 'join' | 'leave'; [more: string]: any }
}

/** What the client itself has to say. */
export interface OwnEvents {
  status: StatusChange
  resync: Resync
  error: TidegateError
}

export interface Ack {
  success: true
  [more: string]: any
}

export interface SentAck extends Ack {
  /** Where the message stands in the log. */
  id: string
  /** What the receivers know it by. */
  message_id: string
}

export type GetToken = (why: {
  /** The token that was given last is refused or about to end: get another. */
  refresh: boolean
}) => string | null | undefined | Promise<string | null | undefined>

export interface SendOptions {
  /** What the content is; `text` unless given. */
  type?: string
  /** Your own id of the message, a UUID say: to show it before it is stored. */
  messageId?: string
}

export interface Options {
  /** Returns a JWT, or nothing where nobody is logged in. Called at the start, and when the last token is of no use. */
  getToken: GetToken
  /** Where to go on: the `cursor` of a client before, kept over a reload. */
  cursor?: string
  /** One connection for all tabs of this origin. A string separates what may not share: the user's id, say. */
  share?: boolean | string
  /** Where the HTTP API is, such as https://push.example.com. By default, where the WebSocket is. */
  api?: string
  /** How many commands may wait for a connection and for their answers; more are refused. Default 100. */
  queue?: number
  /** How long a command may wait for its answer, in ms. Default 30,000. */
  timeoutMs?: number
  /** Whether your own messages come as events too: for a gateway that echoes them. Default false. */
  echo?: boolean
  /** The first wait before a reconnect is up to so long, in ms; it doubles. Default 1,000. */
  minWaitMs?: number
  /** The longest wait before a reconnect, in ms. Default 30,000. */
  maxWaitMs?: number
  /** A WebSocket class where there is none: in Node 20, that of the package `ws`. */
  WebSocket?: new (url: string, protocols: string[]) => any
}

/** Messages of a group, the newest first, each as it was pushed. */
export interface History extends Ack {
  messages: Frame<Message>[]
  /** Whether there are older ones: ask with the last one's `id` as `before`. */
  has_more: boolean
}

export interface NotificationQuery {
  page?: number
  page_size?: number
  unread_only?: boolean
  type?: string
}

export interface NotificationPage {
  items: (Notification & { read: boolean; created_at: number })[]
  total: number
  unread_count: number
  page: number
  page_size: number
}

export interface Notifications {
  /** How many are unread, once it is known; `unread_count` is the event that says it has changed. */
  readonly unread: number | undefined
  /** A page of them, the newest first; the query is that of GET /api/v1/notifications. */
  list(query?: NotificationQuery): Promise<NotificationPage>
  markRead(ids: 'all' | string | string[]): Promise<Ack>
}

export class TidegateError extends Error {
  /** The gateway's number (400, 403, 413 …), or `timeout`, `overflow`, `stopped`, `closed`, `token`. */
  readonly code: number | 'timeout' | 'overflow' | 'stopped' | 'closed' | 'token'
  /** The type of the command that failed. */
  readonly command?: string
}

export class Tidegate {
  constructor(url: string, options: Options)
  readonly status: Status
  /** The position up to which everything was handed out. */
  readonly cursor: string | undefined
  readonly welcome: Welcome | undefined
  readonly notifications: Notifications

  /** Listen; the function that it returns ends it. `*` is every event of the log. */
  on<Name extends keyof OwnEvents>(name: Name, listener: (data: OwnEvents[Name]) => void): () => void
  on<Name extends keyof Events>(name: Name, listener: (data: Events[Name], frame: Frame<Events[Name]>) => void): () => void
  on(name: string, listener: (data: any, frame: Frame) => void): () => void

  join(group: string): Promise<Ack>
  leave(group: string): Promise<Ack>
  subscribe(topic: string, options?: { filter?: unknown }): Promise<Ack>
  unsubscribe(topic: string): Promise<Ack>
  addTag(tag: string): Promise<Ack>
  removeTag(tag: string): Promise<Ack>

  send(group: string, content: unknown, options?: SendOptions): Promise<SentAck>
  sendTo(user: string, content: unknown, options?: SendOptions): Promise<SentAck>
  typing(group: string): void
  recall(group: string, messageId: string): Promise<Ack>
  markRead(group: string, messageId: string): Promise<Ack>
  history(group: string, options?: { before?: string; limit?: number }): Promise<History>

  /** The users in a group. */
  presence(group: string): Promise<string[]>
  /** Which of these users are online. */
  online(users: string[]): Promise<Record<string, boolean>>

  /** Any other command. */
  command(type: string, data?: object): Promise<any>
  /** Connect again after `stopped`. */
  connect(): void
  /** Look after the connection now: an app has come to the foreground. */
  wake(): void
  /** The end. What waits is refused. */
  close(): void
}
