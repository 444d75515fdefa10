// The console: logging in, the views, the connection's state. Each view has a module of its own.

import * as cluster from './cluster.js'
import * as commands from './commands.js'
import { byId, make, toast, words } from './dom.js'
import * as inbox from './inbox.js'
import * as live from './live.js'
import * as people from './people.js'
import * as publish from './publish.js'
import { ask, claimsOf, listen, session } from './session.js'

const VIEWS = ['live', 'send', 'publish', 'inbox', 'people', 'cluster', 'session']

// Views.

const viewOf = () => (VIEWS.includes(location.hash.slice(1)) ? location.hash.slice(1) : 'live')
const isShown = (view) => !byId('app').hidden && viewOf() === view

const show = (focus) => {
  const view = viewOf()
  document.body.dataset.view = view
  for (const link of document.querySelectorAll('.rail a')) {
    if (link.hash === `#${view}`) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  if (byId('app').hidden) return
  if (focus) byId(`${view}-title`).focus({ preventScroll: true })
  scrollTo(0, 0)
  needs()
  cluster.show(view === 'cluster')
  if (view === 'inbox') inbox.load()
  if (view === 'people') people.load()
  if (view === 'session') facts()
}

/** Say where a credential is missing, before somebody fills a form in vain. */
const needs = () => {
  for (const notice of document.querySelectorAll('[data-needs=push]')) {
    notice.hidden = session.mayPush
    notice.replaceChildren('This needs a credential that may push, and your token lacks the scope ', make('code', { text: 'push' }), '. Give one under ', make('a', { href: '#session', text: 'Session' }), '.')
  }
  byId('credential-state').textContent = session.credential ? 'A service credential is in use.' : session.mayPush ? 'Your token has the scope push, so none is needed.' : 'None yet.'
}

// The connection.

const WORDS = { none: 'Not connected', closed: 'Disconnected', connecting: 'Connecting …' }

const status = ({ status: state, code, reason, retry_in_ms: wait }) => {
  const welcome = session.tide?.welcome
  const why = [code, reason].filter(Boolean).join(' ')
  byId('status').dataset.state = state
  byId('status-text').textContent =
    state === 'online' ? `Online as ${welcome.user_id}`
    : state === 'offline' ? `Connection lost; again in ${Math.ceil((wait ?? 0) / 1_000)} s`
    : state === 'stopped' ? `Stopped: ${why}`
    : WORDS[state]
  byId('status').title = why
  byId('switch').textContent = state === 'closed' || state === 'stopped' ? 'Connect' : 'Disconnect'
  if (state !== 'online') return
  publish.offer(welcome)
  inbox.load()
  if (isShown('session')) facts()
}

const enter = () => {
  byId('login').hidden = true
  for (const id of ['app', 'switch', 'logout']) byId(id).hidden = false
  document.body.classList.add('entered')
  show(true)
}

const leave = () => {
  session.close()
  session.turn({ status: 'none' })
  for (const id of ['app', 'switch', 'logout']) byId(id).hidden = true
  byId('login').hidden = false
  document.body.classList.remove('entered')
  for (const form of document.querySelectorAll('#token-form, #credential-form')) form.reset()
  live.clear()
  inbox.reset()
  cluster.reset()
  ;(session.config.mints ? byId('mint-user') : byId('token')).focus()
}

const facts = async () => {
  const list = byId('session-facts')
  const claims = claimsOf(session.token ?? '')
  let info = {}
  try {
    if (session.status === 'online') info = await session.tide.command('get_client_info')
  } catch (error) {
    toast(error.message)
  }
  const until = info.expires_at ?? (claims.exp ? claims.exp * 1_000 : undefined)
  const rows = {
    User: info.user_id ?? claims.sub, Name: info.name, Tenant: info.tenant ?? claims.tenant, Scopes: claims.scope,
    Instance: info.instance, Client: info.client_id, Groups: info.groups?.join(', '), Topics: info.topics?.join(', '),
    Tags: info.tags?.join(', '), 'Token ends': until && new Date(until).toLocaleString(), Cursor: session.tide?.cursor,
    Endpoint: session.config.websocket_url,
  }
  const stated = Object.entries(rows).filter(([, value]) => value)
  list.replaceChildren(...stated.flatMap(([name, value]) => [make('dt', { text: name }), make('dd', { text: String(value) })]))
}

// Logging in.

const mint = async (event) => {
  event.preventDefault()
  const form = new FormData(event.target)
  const body = { user_id: form.get('user').trim(), groups: words(form.get('groups')) }
  for (const name of ['name', 'scope']) if (form.get(name).trim()) body[name] = form.get(name).trim()
  const minted = async () => (await ask('POST', 'console/token', { body, credential: null })).token
  try {
    const token = await minted()
    byId('mint-error').textContent = ''
    session.open(token, { renew: minted })
    enter()
  } catch (error) {
    byId('mint-error').textContent = error.message
  }
}

const useToken = (event) => {
  event.preventDefault()
  const form = new FormData(event.target)
  const token = form.get('token').trim()
  if (token.split('.').length !== 3) {
    byId('token-error').textContent = 'This is not a JSON Web Token: it has three parts, with dots between them.'
    return
  }
  byId('token-error').textContent = ''
  session.open(token, { credential: form.get('credential').trim() })
  enter()
}

// Colours.

const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark'

const colours = (theme) => {
  if (theme) {
    document.documentElement.dataset.theme = theme
    try {
      localStorage.setItem('tidegate-theme', theme)
    } catch {
      // it lasts as long as the page
    }
  }
  byId('theme').setAttribute('aria-pressed', String(isDark()))
}

const start = async () => {
  byId('theme').addEventListener('click', () => colours(isDark() ? 'light' : 'dark'))
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => colours())
  colours()
  try {
    await session.load()
  } catch (error) {
    byId('login-lead').textContent = `${error.message}. Reload the page to try again.`
    return
  }
  byId('version').textContent = `Tidegate ${session.config.version}`
  byId('mint-form').hidden = !session.config.mints
  byId('token-details').open = !session.config.mints
  listen('status', status)
  live.start()
  commands.start()
  publish.start()
  inbox.start()
  people.start(() => isShown('people'))
  byId('mint-form').addEventListener('submit', mint)
  byId('token-form').addEventListener('submit', useToken)
  byId('switch').addEventListener('click', () => (['closed', 'stopped'].includes(session.status) ? session.connect() : session.disconnect()))
  byId('logout').addEventListener('click', leave)
  byId('credential-form').addEventListener('submit', (event) => {
    event.preventDefault()
    session.credential = byId('credential').value.trim() || undefined
    byId('credential').value = ''
    needs()
    toast(session.credential ? 'The service credential is in use' : 'The service credential is gone')
  })
  addEventListener('hashchange', () => show(true))
  show()
  document.body.dataset.ready = 'yes'
}

start()
