// Small charts: a line with its area, drawn as SVG.

const SVG = 'http://www.w3.org/2000/svg'
const WIDTH = 240
const HEIGHT = 56
const TOP = 5

const draw = (tag, attributes) => {
  const node = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  return node
}

/** A chart of the last `room` values. */
export class Chart {
  #values = []
  #room
  #area = draw('path', { class: 'area' })
  #line = draw('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' })

  constructor(label, { room = 45 } = {}) {
    this.#room = room
    this.label = label
    this.node = draw('svg', { class: 'chart', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' })
    const base = draw('path', { class: 'base', d: `M0 ${HEIGHT - 0.5}H${WIDTH}`, 'vector-effect': 'non-scaling-stroke' })
    this.node.append(base, this.#area, this.#line)
  }

  /** Add a value; null where it is not known. */
  add(value, shown) {
    this.#values.push(value)
    if (this.#values.length > this.#room) this.#values.shift()
    this.node.setAttribute('aria-label', `${this.label}: ${shown ?? value ?? 'unknown'}`)
    this.#draw()
  }

  #draw() {
    const most = Math.max(1, ...this.#values.map((value) => value ?? 0))
    const step = WIDTH / (this.#room - 1)
    const from = WIDTH - step * (this.#values.length - 1)
    const points = this.#values.flatMap((value, n) =>
      value === null ? [] : [[from + n * step, HEIGHT - 1 - (value / most) * (HEIGHT - 1 - TOP)]])
    if (points.length === 0) return
    if (points.length === 1) points.unshift([points[0][0] - step, points[0][1]])
    const line = points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')
    this.#line.setAttribute('d', `M${line}`)
    this.#area.setAttribute('d', `M${points[0][0].toFixed(1)} ${HEIGHT}L${line}L${points.at(-1)[0].toFixed(1)} ${HEIGHT}Z`)
  }
}
