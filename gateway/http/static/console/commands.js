// A form for every command, made from what the gateway says of them.

import { byId, clock, make, prose, words } from './dom.js'
import { parse, pretty } from './json.js'
import { session } from './session.js'

const OTHER = {
  type: '', family: 'Plug-ins', about: 'Any other command, such as one that a plug-in handler answers.',
  fields: [
    { name: 'type', kind: 'text', about: 'Its name.', needed: true, example: '' },
    { name: 'data', kind: 'json', about: 'Any JSON.', needed: false, example: '{}' },
  ],
}
const GIVEN = 'field-'

let command

const control = (field) => {
  const id = GIVEN + field.name
  const common = { id, name: field.name, required: field.needed, 'aria-describedby': `${id}-hint`, spellcheck: 'false' }
  if (field.kind === 'flag') return make('input', { ...common, type: 'checkbox', required: false })
  if (field.kind === 'secret') return make('input', { ...common, type: 'password', autocomplete: 'off' })
  if (field.kind === 'number') return make('input', { ...common, type: 'number', min: '1', step: '1' })
  if (field.kind === 'json' || field.kind === 'names') {
    const node = make('textarea', { ...common, rows: field.kind === 'json' ? '3' : '2' })
    node.value = field.example
    return node
  }
  return make('input', { ...common, value: field.example, maxlength: field.kind === 'name' ? '256' : undefined })
}

const row = (field) => {
  const id = GIVEN + field.name
  const optional = field.needed ? [] : [make('span', { class: 'quiet', text: 'optional' })]
  const hint = make('span', { class: 'hint', id: `${id}-hint` }, ...prose(field.about))
  const label = make('label', { for: id }, make('code', { text: field.name }), ' ', ...optional)
  if (field.kind === 'flag') return make('p', { class: 'field check-field' }, control(field), label, hint)
  return make('p', { class: 'field' }, label, control(field), hint)
}

const valueOf = ({ name, kind, needed }) => {
  const node = byId(GIVEN + name)
  node.setAttribute('aria-invalid', 'false')
  if (kind === 'flag') return node.checked || undefined
  const text = node.value
  if (!text.trim()) return undefined
  try {
    if (kind === 'json') return parse(text, name)
    if (kind === 'names') return words(text, /[\n,]+/)
    return kind === 'number' ? Number(text) : text
  } catch (error) {
    node.setAttribute('aria-invalid', 'true')
    throw error
  }
}

/** The frame that the form stands for. */
const frame = () => {
  const values = command.fields.map((field) => [field.name, valueOf(field)]).filter(([, value]) => value !== undefined)
  const given = Object.fromEntries(values)
  if (command === OTHER) return { type: given.type ?? '', data: given.data }
  if (command.whole) return { type: command.type, data: given[command.fields[0].name] }
  return { type: command.type, data: command.fields.length ? given : undefined }
}

const preview = () => {
  const shown = byId('command-preview')
  try {
    const { type, data } = frame()
    shown.replaceChildren(pretty({ type, data: data?.token ? { ...data, token: '•••' } : data }))
    shown.classList.remove('wrong')
  } catch (error) {
    shown.textContent = error.message
    shown.classList.add('wrong')
  }
}

const choose = (type) => {
  command = session.config.commands.find((one) => one.type === type) ?? OTHER
  const several = command.one_of?.length ? ` Give exactly one of ${command.one_of.map((name) => `\`${name}\``).join(', ')}.` : ''
  byId('command-about').replaceChildren(...prose(command.about + several))
  byId('command-fields').replaceChildren(...command.fields.map(row))
  preview()
}

/** Joins are the client's own, so that they last over reconnects. */
const carry = ({ type, data }) => {
  const { tide } = session
  if (!data?.since) {
    if (type === 'join_group' && data.group_id) return tide.join(data.group_id)
    if (type === 'leave_group' && data.group_id) return tide.leave(data.group_id)
    if (type === 'subscribe' && data.topic) return tide.subscribe(data.topic, { filter: data.filter })
    if (type === 'unsubscribe' && data.topic) return tide.unsubscribe(data.topic)
    if (type === 'add_tag' && data.tag) return tide.addTag(data.tag)
    if (type === 'remove_tag' && data.tag) return tide.removeTag(data.tag)
  }
  return tide.command(type, data)
}

const show = (good, title, data) => {
  byId('command-result').replaceChildren(make('div', { class: `card outcome ${good ? 'good' : 'bad'}` },
    make('p', { class: 'outcome-head' }, make('strong', { text: title }), make('time', { class: 'quiet', text: clock(Date.now()) })),
    ...(data === undefined ? [] : [make('pre', { class: 'code', tabindex: '0' }, pretty(data))])))
}

const send = async (event) => {
  event.preventDefault()
  let asked
  try {
    asked = frame()
  } catch (error) {
    return show(false, error.message)
  }
  if (!session.tide || session.status === 'closed') return show(false, 'Not connected')
  const button = byId('command-send')
  button.disabled = true
  try {
    const data = await carry(asked)
    show(true, `${asked.type} was answered`, data)
  } catch (error) {
    show(false, `${asked.type}: ${error.code ?? ''} ${error.message}`.replace('  ', ' '))
  } finally {
    button.disabled = false
  }
}

export const start = () => {
  const families = Map.groupBy ? Map.groupBy([...session.config.commands, OTHER], ({ family }) => family) : grouped()
  byId('command').replaceChildren(...[...families].map(([family, members]) =>
    make('optgroup', { label: family }, ...members.map(({ type }) => make('option', { value: type, text: type || 'another command …' })))))
  byId('command').addEventListener('change', ({ target }) => choose(target.value))
  byId('command-fields').addEventListener('input', preview)
  byId('command-form').addEventListener('submit', send)
  choose(session.config.commands[0].type)
}

const grouped = () => {
  const families = new Map()
  for (const one of [...session.config.commands, OTHER]) families.set(one.family, [...(families.get(one.family) ?? []), one])
  return families
}
