// Elements. Whatever is shown is put in as text, so that nothing that a gateway sends can become markup.

export const byId = (id) => document.getElementById(id)

/** Make an element: `text` is its text, `on…` are listeners, the rest are attributes; false and undefined are none. */
export const make = (tag, { text, ...attributes } = {}, ...children) => {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? '' : value)
  }
  if (text !== undefined) node.textContent = text
  node.append(...children)
  return node
}

/** Text with `code` in it. */
export const prose = (text) => text.split(/`([^`]+)`/).map((part, n) => (n % 2 ? make('code', { text: part }) : part))

/** What stands where there is nothing yet. */
export const empty = (title, text) => make('div', { class: 'empty' }, make('strong', { text: title }), make('span', { text }))

/** Say something for a moment. */
export const toast = (() => {
  let timer
  return (text) => {
    const node = byId('toast')
    node.textContent = text
    node.classList.add('shown')
    clearTimeout(timer)
    timer = setTimeout(() => node.classList.remove('shown'), 2_500)
  }
})()

export const copy = async (text, what) => {
  try {
    await navigator.clipboard.writeText(text)
    toast(`${what} copied`)
  } catch {
    toast('The browser does not let this page copy')
  }
}

const number = new Intl.NumberFormat('en')
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 })

export const count = (value) => (Math.abs(value) < 100_000 ? number.format(Math.round(value)) : short.format(value))
export const plural = (value, noun) => `${count(value)} ${noun}${value === 1 ? '' : 's'}`

export const clock = (ms) => {
  const at = new Date(ms)
  const two = (value) => String(value).padStart(2, '0')
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${String(at.getMilliseconds()).padStart(3, '0')}`
}

export const lasting = (ms) => {
  const seconds = Math.max(0, Math.round(ms / 1_000))
  for (const [unit, size, next, part] of [['d', 86_400, 'h', 3_600], ['h', 3_600, 'min', 60], ['min', 60, 's', 1]]) {
    if (seconds < size) continue
    const rest = Math.floor((seconds % size) / part)
    return `${Math.floor(seconds / size)} ${unit}${rest && unit !== 'min' ? ` ${rest} ${next}` : ''}`
  }
  return `${seconds} s`
}

export const bytes = (size) => (size < 1_024 ? `${size} B` : `${(size / 1_024).toFixed(1)} KiB`)

const encoder = new TextEncoder()
export const sizeOf = (text) => encoder.encode(text).length

/** The words of a field in which several stand. */
export const words = (text, separator = /[\s,]+/) => text.split(separator).map((word) => word.trim()).filter(Boolean)
