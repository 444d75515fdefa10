// Events to any address, and notifications: by the HTTP API, as a service.

import { byId, make, words } from './dom.js'
import { parse } from './json.js'
import { ask, session } from './session.js'

const KINDS = ['all', 'user:', 'group:', 'topic:', 'tag:', 'client:']

const outcome = (node, good, text, id) => {
  node.replaceChildren(make('p', { class: `line ${good ? 'good' : 'bad'}` }, text, ...(id ? [' ', make('code', { text: id })] : [])))
}

/** Let a form do its work, and say how it went. */
const onSubmit = (form, result, work) => {
  byId(form).addEventListener('submit', async (event) => {
    event.preventDefault()
    const button = event.target.querySelector('button.main-button')
    button.disabled = true
    try {
      outcome(byId(result), true, ...(await work(new FormData(event.target))))
    } catch (error) {
      outcome(byId(result), false, error.status === 403 ? `${error.message}. Give a service credential under Session.` : error.message)
    } finally {
      button.disabled = false
    }
  })
}

const publish = async (form) => {
  const event = {
    to: words(form.get('to')), event: form.get('event'), data: parse(form.get('data') || 'null', 'Data'), priority: form.get('priority'),
  }
  if (form.get('exclude').trim()) event.exclude = words(form.get('exclude'))
  if (form.get('expires_in').trim()) event.expires_in = Number(form.get('expires_in'))
  if (form.get('collapse').trim()) event.collapse = form.get('collapse').trim()
  const { results } = await ask('POST', 'message/push/batch', { body: { events: [event] } })
  if (results[0].problem) throw new Error(results[0].problem.detail)
  return ['In the log as', results[0].id]
}

const notify = async (form) => {
  const body = Object.fromEntries(form)
  const { id } = await ask('POST', 'api/v1/notifications', { body })
  return [`Sent to ${body.user_id} as`, id]
}

export const start = () => {
  byId('address-kinds').replaceChildren(...KINDS.map((value) => make('option', { value })))
  onSubmit('publish-form', 'publish-result', publish)
  onSubmit('notify-form', 'notify-result', notify)
}

/** Offer the addresses that make sense for whoever has logged in. */
export const offer = ({ user_id, client_id }) => {
  const own = [`user:${user_id}`, `client:${client_id}`]
  byId('address-kinds').replaceChildren(...[...KINDS, ...own].map((value) => make('option', { value })))
  if (!byId('notify-user').value) byId('notify-user').value = session.tide?.welcome?.user_id ?? ''
}
