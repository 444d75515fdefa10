// The instances: connections, deliveries and lag, as /stats tells them every two seconds.

import { Chart } from './chart.js'
import { byId, count, empty, lasting, make, plural } from './dom.js'
import { ask } from './session.js'

const EVERY_MS = 2_000
const MEASURES = [
  ['connections', 'Connections'],
  ['deliveries', 'Deliveries/s'],
  ['lag', 'Lag'],
]

let timer
let rates = new Map() // instance → the last count of deliveries, when it was counted, and the rate since the one before
let cards = new Map()
let totals

/**
 * Deliveries a second. The instance that answers counts to the moment; the others tell what they have counted every ten
 * seconds, so theirs is an average that holds until they tell more.
 */
const rateOf = ({ id, deliveries, started_at }, now) => {
  const known = rates.get(id)
  if (!known || known.started_at !== started_at || deliveries < known.deliveries) {
    rates.set(id, { deliveries, started_at, at: now, rate: null })
    return null
  }
  if (deliveries !== known.deliveries || now - known.at > 12_000) {
    const rate = (deliveries - known.deliveries) / Math.max(0.001, (now - known.at) / 1_000)
    rates.set(id, { deliveries, started_at, at: now, rate })
  }
  return rates.get(id).rate
}

const measured = (id, label) => {
  const chart = new Chart(label)
  const value = make('strong', { class: 'value', 'data-measure': id, text: '–' })
  const node = make('div', { class: `measure ${id}` }, make('span', { class: 'measure-label', text: label }), value, chart.node)
  const add = (amount) => {
    const text = amount === null || amount === undefined ? '–' : count(amount)
    value.textContent = text
    value.classList.toggle('warn', id === 'lag' && amount >= 1_000)
    chart.add(amount ?? null, text)
  }
  return { node, add }
}

const card = (id) => {
  const measures = Object.fromEntries(MEASURES.map(([name, label]) => [name, measured(name, label)]))
  const facts = make('p', { class: 'quiet' })
  const node = make('section', { class: 'card instance', 'aria-label': `Instance ${id}` },
    make('div', { class: 'instance-head' }, make('h3', { text: id }), facts),
    make('div', { class: 'measures' }, ...MEASURES.map(([name]) => measures[name].node)))
  return { node, facts, measures }
}

const instances = ({ instance, cluster }) => cluster.instances.map((one) => (one.id === instance.id ? { ...one, ...instance, lag: one.lag } : one))

const draw = (stats) => {
  const now = Date.now()
  const found = instances(stats).map((one) => ({ ...one, rate: rateOf(one, now) }))
  const gone = [...cards.keys()].filter((id) => !found.some((one) => one.id === id))
  for (const id of gone) {
    cards.get(id).node.remove()
    cards.delete(id)
    rates.delete(id)
  }
  for (const one of found) {
    if (!cards.has(one.id)) {
      cards.set(one.id, card(one.id))
      byId('cluster-instances').append(cards.get(one.id).node)
    }
    const { facts, measures } = cards.get(one.id)
    facts.textContent = [one.address, `up ${lasting(now - one.started_at)}`, `version ${one.version}`].join(' · ')
    measures.connections.add(one.connections)
    measures.deliveries.add(one.rate)
    measures.lag.add(one.lag)
  }
  total(found)
}

const sum = (values) => (values.every((value) => value === null || value === undefined) ? null : values.reduce((all, value) => all + (value ?? 0), 0))

const total = (found) => {
  if (!totals) {
    totals = Object.fromEntries(MEASURES.map(([name, label]) => [name, measured(name, name === 'lag' ? 'Largest lag' : label)]))
    byId('cluster-totals').replaceChildren(...Object.values(totals).map(({ node }) => (node.classList.add('card', 'tile'), node)))
  }
  totals.connections.add(sum(found.map(({ connections }) => connections)))
  totals.deliveries.add(sum(found.map(({ rate }) => rate)))
  const lags = found.map(({ lag }) => lag).filter((lag) => lag !== null && lag !== undefined)
  totals.lag.add(lags.length ? Math.max(...lags) : null)
  byId('cluster-age').textContent = `${plural(found.length, 'instance')}; the counts of others are up to 10 s old`
}

const fail = (error) => {
  const notice = byId('cluster-notice')
  notice.hidden = !error || error.status === 403
  if (error) notice.textContent = error.message
  if (error && !cards.size) {
    const [title, text] = error.status === 403 ? ['Not with this token', 'Give a service credential under Session.'] : ['No figures', error.message]
    byId('cluster-instances').replaceChildren(empty(title, text))
  }
}

const look = async () => {
  clearTimeout(timer)
  try {
    const stats = await ask('GET', 'stats')
    if (!cards.size) byId('cluster-instances').replaceChildren()
    fail()
    draw(stats)
  } catch (error) {
    fail(error)
  }
  if (timer !== null) timer = setTimeout(look, EVERY_MS)
}

/** Ask while somebody looks. */
export const show = (on) => {
  clearTimeout(timer)
  if (on && timer === null) {
    timer = undefined
    look()
  } else if (!on) timer = null
}

export const reset = () => {
  show(false)
  rates = new Map()
  cards = new Map()
  totals = undefined
  byId('cluster-instances').replaceChildren()
  byId('cluster-totals').replaceChildren()
}

timer = null
