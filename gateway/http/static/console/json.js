// JSON, to be read by people.

import { make } from './dom.js'

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
const MOST = 200_000

/** Indented, with colours. */
export const pretty = (value) => {
  const text = JSON.stringify(value, null, 2) ?? 'undefined'
  const code = make('code')
  if (text.length > MOST) return code.append(text), code
  let end = 0
  for (const match of text.matchAll(TOKEN)) {
    const [found, string, colon, word] = match
    if (match.index > end) code.append(text.slice(end, match.index))
    const kind = string ? (colon ? 'key' : 'string') : word ? 'word' : 'number'
    code.append(make('span', { class: `j-${kind}`, text: colon ? string : found }), colon ?? '')
    end = match.index + found.length
  }
  code.append(text.slice(end))
  return code
}

/** Read what somebody typed; the error says what is wrong in the words of a form. */
export const parse = (text, what) => {
  try {
    return JSON.parse(text)
  } catch {
    throw new Error(`${what} is not JSON. Text stands in quotes: "Hello"`)
  }
}
