// Shows openapi.json. Everything is put in as text, so that nothing in it can become markup.

const make = (tag, { text, ...attributes } = {}, ...children) => {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  if (text !== undefined) node.textContent = text
  node.append(...children)
  return node
}

// Text with `code` in it.
const prose = (tag, text = '') =>
  make(tag, {}, ...text.split(/`([^`]+)`/).map((part, n) => (n % 2 ? make('code', { text: part }) : part)))

const resolve = (api, schema = {}) =>
  schema.$ref ? resolve(api, schema.$ref.split('/').slice(1).reduce((at, key) => at[key], api)) : schema

const typeOf = (api, schema = {}) => {
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(api, one)).join(' or ')
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' or ')
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.$ref) return schema.$ref.split('/').pop()
  if (schema.type === 'array') return `list of ${typeOf(api, schema.items)}`
  return schema.type ?? 'any JSON'
}

const table = (headings, rows) =>
  make('table', {},
    make('thead', {}, make('tr', {}, ...headings.map((text) => make('th', { text, scope: 'col' })))),
    make('tbody', {}, ...rows.map((cells) => make('tr', {}, ...cells))))

const fields = (api, schema) => {
  const required = new Set(schema.required)
  const all = Object.entries(schema.properties ?? {}).sort(([a], [b]) => required.has(b) - required.has(a))
  return table(['field', 'type', ''], all.map(([name, field]) => [
    make('td', {}, make('code', { text: name }), required.has(name) ? '' : make('span', { class: 'quiet', text: ' optional' })),
    make('td', { text: typeOf(api, field) }),
    prose('td', field.description),
  ]))
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`

const curl = (method, path, example) => {
  const lines = [`curl -X ${method.toUpperCase()} ${quoted(location.origin + path)}`, '-H "Authorization: Bearer $TOKEN"']
  if (example !== undefined) lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(example))}`)
  return lines.join(' \\\n  ')
}

const bodyOf = (api, operation) => {
  const schema = operation.requestBody?.content?.['application/json']?.schema
  const choice = schema?.anyOf?.find((one) => one.$ref) ?? schema
  return choice && resolve(api, choice)
}

const route = (api, path, method, operation) => {
  const body = bodyOf(api, operation)
  const section = make('section', { id: operation.operationId },
    make('h3', {}, make('span', { class: 'method', text: method.toUpperCase() }), ` ${path}`),
    prose('p', operation.description ?? operation.summary))
  if (operation.parameters?.length) {
    section.append(make('h4', { text: 'Parameters' }), table(['name', 'in', ''], operation.parameters.map((one) => [
      make('td', {}, make('code', { text: one.name })), make('td', { text: one.in }), prose('td', one.description),
    ])))
  }
  if (body) section.append(make('h4', { text: 'Body' }), fields(api, body))
  section.append(make('h4', { text: 'Example' }), make('pre', { text: curl(method, path, body?.examples?.[0]) }))
  section.append(make('h4', { text: 'Answers' }), table(['status', ''], Object.entries(operation.responses)
    .map(([status, answer]) => [make('td', {}, make('code', { text: status })), prose('td', answer.description)])))
  return section
}

const show = (api) => {
  const page = document.getElementById('page')
  const contents = document.getElementById('contents')
  page.replaceChildren(make('h1', { text: `${api.info.title} HTTP API` }),
    make('p', { class: 'quiet' }, `Version ${api.info.version} · `, make('a', { href: '/openapi.json', text: 'openapi.json' })),
    ...api.info.description.trim().split(/\n\s*\n/).map((text) => prose('p', text)))
  const links = new Map()
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const tag = operation.tags?.[0] ?? ''
      if (!links.has(tag)) links.set(tag, [])
      links.get(tag).push(make('a', { href: `#${operation.operationId}`, text: path, title: operation.summary }))
      page.append(route(api, path, method, operation))
    }
  }
  for (const [tag, routes] of links) contents.append(make('h2', { text: tag }), ...routes)
}

const answer = await fetch('/openapi.json')
show(await answer.json())
document.getElementById(location.hash.slice(1))?.scrollIntoView()
