// Who is there: the users who are online, those in a group, and every connection.

import { byId, count, empty, lasting, make } from './dom.js'
import { ask, listen } from './session.js'

const SHOWN = 200

let group

const failed = ({ status, message }, what) => {
  if (status === 404) return empty(`${what} is off`, message === 'there is nothing at this path' ? 'This gateway does not say who is there.' : message)
  if (status === 403) return empty('Not with this token', 'Give a service credential under Session.')
  return empty('No answer', message)
}

const users = (names, total) => {
  const more = total > names.length ? [make('li', { class: 'quiet', text: `and ${count(total - names.length)} more` })] : []
  return make('ul', { class: 'users' }, ...names.map((name) => make('li', { class: 'user' }, make('span', { class: 'face', 'aria-hidden': 'true', text: [...name][0] }), name)), ...more)
}

const online = async () => {
  try {
    const found = await ask('GET', `api/v1/users/online?page_size=${SHOWN}`)
    byId('online-count').textContent = count(found.total)
    return found.users.length ? users(found.users, found.total) : empty('Nobody', 'No user is connected.')
  } catch (error) {
    byId('online-count').textContent = ''
    return failed(error, 'Presence')
  }
}

const inGroup = async () => {
  try {
    const found = await ask('GET', `api/v1/groups/${encodeURIComponent(group)}/presence?limit=${SHOWN}`)
    return found.users.length ? users(found.users, found.total) : empty('Nobody', `No connection is in ${group}.`)
  } catch (error) {
    return failed(error, 'Presence')
  }
}

const place = (client) => [...client.groups.map((name) => `group:${name}`), ...client.topics.map((name) => `topic:${name}`), ...client.tags.map((name) => `tag:${name}`)]

const connection = (client) => make('tr', {},
  make('th', { scope: 'row' }, client.user_id, ...(client.name ? [make('span', { class: 'quiet', text: ` ${client.name}` })] : [])),
  make('td', {}, make('code', { text: client.instance })),
  make('td', {}, ...place(client).slice(0, 6).flatMap((address) => [make('span', { class: 'tag', text: address }), ' '])),
  make('td', { class: 'number', text: lasting(Date.now() - client.connected_at) }),
  make('td', { text: client.lagging ? 'lagging' : 'live', class: client.lagging ? 'warn' : '' }))

const connections = async () => {
  try {
    const found = await ask('GET', `message/clients?page_size=${SHOWN}`)
    byId('connections-count').textContent = count(found.total)
    const heads = ['User', 'Instance', 'Where', 'Since', 'State'].map((text) => make('th', { scope: 'col', text }))
    if (!found.clients.length) return empty('None', 'Nobody is connected.')
    return make('table', {}, make('thead', {}, make('tr', {}, ...heads)), make('tbody', {}, ...found.clients.map(connection)))
  } catch (error) {
    byId('connections-count').textContent = ''
    return failed(error, 'The list')
  }
}

const fill = async (id, part) => byId(id).replaceChildren(await part())

export const load = () =>
  Promise.all([fill('online-users', online), fill('connections', connections), ...(group ? [fill('presence-users', inGroup)] : [])])

export const start = (isShown) => {
  byId('people-refresh').addEventListener('click', load)
  byId('presence-form').addEventListener('submit', (event) => {
    event.preventDefault()
    group = byId('presence-group').value.trim()
    if (group) fill('presence-users', inGroup)
  })
  listen('presence', () => isShown() && load())
}
