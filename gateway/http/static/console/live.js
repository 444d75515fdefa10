// The frames that pass, newest first: bounded, filtered, paused, copied.

import { byId, bytes, clock, copy, empty, make, plural, sizeOf } from './dom.js'
import { pretty } from './json.js'
import { listen, session } from './session.js'

const MOST = 500
const EVERY_MS = 60

let frames = []
let waiting = [] // while paused, and until it is drawn
let paused = false
let timer

const list = byId('live-list')

/** A frame that was sent shows no token. */
const hidden = (frame) => {
  if (frame?.type !== 'auth' || !frame.data?.token) return frame
  return { ...frame, data: { ...frame.data, token: '•••' } }
}

const take = ({ text, sent }) => {
  let frame
  try {
    frame = JSON.parse(text)
  } catch {
    frame = { type: 'not a frame', data: String(text) }
  }
  frame = sent ? hidden(frame) : frame
  waiting.push({ at: Date.now(), sent, frame, text: JSON.stringify(frame), size: sizeOf(String(text)) })
  if (waiting.length > MOST) waiting.shift()
  timer ??= setTimeout(draw, EVERY_MS)
}

const kindOf = ({ frame, sent }) => (sent ? 'sent' : frame.id !== undefined ? 'push' : frame.type === 'error' || frame.type === 'auth_failed' ? 'error' : 'reply')

const matches = (one) => {
  const text = byId('live-filter').value.trim().toLowerCase()
  const kind = byId('live-kind').value
  if (kind && (kind === 'push') !== (kindOf(one) === 'push')) return false
  return !text || one.text.toLowerCase().includes(text)
}

const row = (one) => {
  const { frame, sent, at, size } = one
  const preview = JSON.stringify(frame.data) ?? ''
  const summary = make('summary', {},
    make('time', { text: clock(at), datetime: new Date(at).toISOString() }),
    make('span', { class: 'arrow', text: sent ? '→' : '←', title: sent ? 'sent' : 'received' }),
    make('span', { class: 'type', text: String(frame.type), title: String(frame.type) }),
    make('span', { class: 'preview', text: preview === '{}' ? '' : preview.slice(0, 400) }),
    make('span', { class: 'size', text: bytes(size) }))
  const details = make('details', {}, summary)
  details.addEventListener('toggle', () => {
    if (!details.open || details.children.length > 1) return
    const text = JSON.stringify(frame, null, 2)
    details.append(make('div', { class: 'frame-body' },
      make('button', { type: 'button', class: 'quiet-button copy', text: 'Copy', onclick: () => copy(text, 'Frame') }),
      make('pre', { class: 'code', tabindex: '0' }, pretty(frame))))
  })
  return make('li', { class: `frame ${kindOf(one)}` }, details)
}

const draw = () => {
  timer = undefined
  if (!paused && waiting.length) {
    const fresh = waiting
    waiting = []
    frames = [...frames, ...fresh].slice(-MOST)
    list.prepend(...fresh.filter(matches).map(row).reverse())
    while (list.childElementCount > MOST) list.lastElementChild.remove()
  }
  describe()
}

const redraw = () => {
  list.replaceChildren(...frames.filter(matches).map(row).reverse())
  describe()
}

const describe = () => {
  const shown = list.childElementCount
  const note = paused && waiting.length ? `${waiting.length} waiting` : shown < frames.length ? `${shown} of ${frames.length}` : frames.length ? String(frames.length) : ''
  byId('live-count').textContent = note
  const nothing = frames.length
    ? empty('Nothing matches', 'Change the filter, or clear it.')
    : session.status === 'online'
      ? empty('All quiet', 'Send a command or publish an event: what passes shows here.')
      : empty('Not connected', 'Frames show here once the connection stands.')
  byId('live-empty').replaceChildren(...(shown ? [] : [nothing]))
}

const pause = (on) => {
  paused = on
  byId('live-pause').setAttribute('aria-pressed', String(on))
  byId('live-pause').textContent = on ? 'Resume' : 'Pause'
  draw()
}

export const clear = () => {
  frames = []
  waiting = []
  redraw()
}

export const start = () => {
  listen('frame', take)
  listen('status', describe)
  byId('live-pause').addEventListener('click', () => pause(!paused))
  byId('live-clear').addEventListener('click', clear)
  byId('live-copy').addEventListener('click', () => {
    const chosen = frames.filter(matches)
    copy(chosen.map(({ text }) => text).join('\n'), plural(chosen.length, 'frame'))
  })
  byId('live-filter').addEventListener('input', redraw)
  byId('live-kind').addEventListener('change', redraw)
  describe()
}
