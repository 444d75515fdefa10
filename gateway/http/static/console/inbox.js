// The inbox of whoever has logged in, and the badge that counts what is unread.

import { byId, empty, lasting, make } from './dom.js'
import { ask, listen, session } from './session.js'

const PAGE = 20

let shown = 1 // pages
let asked = 0

const count = (unread) => {
  const badge = byId('unread')
  badge.hidden = !unread
  badge.textContent = unread > 99 ? '99+' : String(unread ?? '')
  badge.setAttribute('aria-label', `${unread ?? 0} unread`)
  byId('inbox-all-read').disabled = unread === 0
  document.title = unread ? `(${unread}) Tidegate console` : 'Tidegate console'
}

const fail = (error) => {
  const notice = byId('inbox-notice')
  notice.hidden = !error
  if (error) notice.textContent = error.status === 404 ? 'Notifications are not kept here: they are only pushed.' : error.message
}

const act = (work) => async () => {
  try {
    await work()
    fail()
    await load()
  } catch (error) {
    fail(error)
  }
}

const item = ({ id, read, created_at, title, content, type, level, link }) => {
  const buttons = []
  if (!read) buttons.push(make('button', { type: 'button', class: 'quiet-button', text: 'Mark read', onclick: act(() => session.tide.notifications.markRead(id)) }))
  const path = `api/v1/notifications/${encodeURIComponent(id)}`
  const remove = act(() => ask('DELETE', path, { credential: session.token }))
  buttons.push(make('button', { type: 'button', class: 'quiet-button', text: 'Delete', 'aria-label': `Delete ${title}`, onclick: remove }))
  return make('li', { class: `note card ${read ? 'read' : 'unread'} level-${/^[a-z]+$/.test(level) ? level : 'info'}` },
    make('div', { class: 'note-text' },
      make('p', { class: 'note-title' }, ...(read ? [] : [make('span', { class: 'sr', text: 'Unread: ' })]), make('strong', { text: title })),
      ...(content ? [make('p', { text: content })] : []),
      make('p', { class: 'quiet note-facts' }, make('span', { class: 'tag', text: level }), ` ${type} · ${lasting(Date.now() - created_at)} ago`, ...(link ? [' · ', make('code', { text: link })] : []))),
    make('div', { class: 'tools' }, ...buttons))
}

export const load = async () => {
  if (!session.token) return
  const mine = ++asked
  const unread = byId('inbox-unread-only').checked
  try {
    const query = new URLSearchParams({ page: '1', page_size: String(Math.min(100, PAGE * shown)), unread_only: String(unread) })
    const page = await ask('GET', `api/v1/notifications?${query}`, { credential: session.token })
    if (mine !== asked) return // a later one is under way
    const nothing = make('li', {}, unread ? empty('All read', 'Nothing is unread.') : empty('Nothing here yet', 'Notifications to you are kept here. Send one under Publish.'))
    byId('inbox-list').replaceChildren(...(page.items.length ? page.items.map(item) : [nothing]))
    byId('inbox-more').hidden = page.items.length >= page.total || page.items.length >= 100
    count(page.unread_count)
    fail()
  } catch (error) {
    if (mine === asked) fail(error)
  }
}

export const reset = () => {
  count(undefined)
  byId('inbox-list').replaceChildren()
}

export const start = () => {
  listen('unread_count', ({ unread_count }) => {
    count(unread_count)
    load()
  })
  listen('notification', load)
  byId('inbox-all-read').addEventListener('click', act(() => session.tide.notifications.markRead('all')))
  byId('inbox-unread-only').addEventListener('change', load)
  byId('inbox-more').addEventListener('click', () => {
    shown += 1
    load()
  })
}
