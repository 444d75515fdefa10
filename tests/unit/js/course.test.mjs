// The course of a connection: pure, so the time is an argument and nothing is waited for.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Course, Recent } from '../../../gateway/static/tidegate.js'

const welcome = { type: 'welcome', data: { client_id: 'c', heartbeat_s: 25, cursor: 'w' } }
const names = (steps) => steps.map(([what]) => what)
const told = (steps) => steps.filter(([what]) => what === 'tell').map(([, message]) => message)

/** A course that has come online at 0. */
function online(options) {
  const course = new Course({ random: () => 1, ...options })
  course.start()
  course.token('t', 0)
  course.opened('c0')
  course.frame(welcome, 0)
  return course
}

/** The waits of connections that fail one after the other. */
function waits(course, codes) {
  return codes.map((code) => {
    course.token('t', 0)
    const [{ retry_in_ms: wait }] = told(course.closed(code, '', 0))
    course.time(Infinity)
    return wait
  })
}

test('it gets a token, opens, authenticates with its cursor, and is up', () => {
  const course = new Course()
  assert.deepEqual(course.start(), [['tell', { status: 'connecting' }], ['token', false]])
  assert.deepEqual(course.token('t', 0), [['open', undefined]])
  assert.deepEqual(course.opened('c0'), [['send', { type: 'auth', data: { token: 't', cursor: 'c0' } }]])
  assert.deepEqual(course.frame(welcome, 0), [['tell', { up: welcome.data, since: 'c0' }]])
  assert.equal(course.phase, 'online')
})

test('every phase takes every input without harm', () => {
  const inputs = {
    start: (course) => course.start(),
    token: (course) => course.token('t', 1),
    noToken: (course) => course.noToken(1),
    opened: (course) => course.opened('c'),
    closed: (course) => course.closed(1006, '', 1),
    time: (course) => course.time(1),
    wake: (course) => course.wake(1),
    network: (course) => course.network(true, 1),
    expiring: (course) => course.frame({ type: 'token_expiring', data: {} }, 1),
  }
  const paths = [[], ['start'], ['start', 'token'], ['start', 'token', 'opened'], ['start', 'noToken']]
  for (const path of paths) {
    for (const input of Object.values(inputs)) {
      const course = new Course()
      for (const name of path) inputs[name](course)
      assert.ok(Array.isArray(input(course)))
      assert.ok(course.wakeAt > 0)
    }
  }
})

test('only a start leaves idle and stopped', () => {
  for (const course of [new Course(), online()]) {
    if (course.phase === 'online') course.closed(4403, 'bye', 0)
    for (const steps of [course.token('t', 1), course.noToken(1), course.opened(), course.closed(1006, '', 1), course.wake(1)]) {
      assert.deepEqual(steps, [])
    }
    assert.deepEqual(names(course.start()), ['tell', 'token'])
  }
})

for (const code of [4400, 4403, 4409]) {
  test(`it stops at ${code}`, () => {
    const course = online()
    assert.deepEqual(course.closed(code, 'why', 5), [['tell', { status: 'stopped', code, reason: 'why' }]])
    assert.equal(course.wakeAt, Infinity)
  })
}

for (const code of [1000, 1001, 1006, 1009, 1011, 1012, 1013, 4408, 4429, 4999]) {
  test(`it comes back after ${code}`, () => {
    const course = online()
    course.closed(code, '', 5)
    assert.equal(course.phase, 'waiting')
    assert.ok(course.wakeAt < Infinity)
  })
}

test('4401 means one try at once with another token, then the end', () => {
  const course = online()
  assert.deepEqual(course.closed(4401, 'expired', 5), [['tell', { status: 'connecting' }], ['token', true]])
  course.token('t2', 5)
  course.opened('c')
  assert.deepEqual(told(course.closed(4401, 'expired', 6)), [{ status: 'stopped', code: 4401, reason: 'expired' }])
})

test('a welcome gives the next token its own try', () => {
  const course = online()
  course.closed(4401, '', 5)
  course.token('t2', 5)
  course.opened('c')
  course.frame(welcome, 6)
  assert.deepEqual(names(course.closed(4401, '', 7)), ['tell', 'token'])
})

test('waits double up to the longest, and are random from nothing on', () => {
  const row = Array(8).fill(1006)
  const start = (random) => (course) => (course.start(), course)
  assert.deepEqual(waits(start()(new Course({ random: () => 1 })), row), [1e3, 2e3, 4e3, 8e3, 16e3, 3e4, 3e4, 3e4])
  assert.deepEqual(waits(start()(new Course({ random: () => 0 })), row), Array(8).fill(0))
})

test('4429 waits for longer', () => {
  const course = new Course({ random: () => 1 })
  course.start()
  assert.deepEqual(waits(course, [4429]), [8_000])
})

test('a connection that lived ends the row of failures; one that did not, does not', () => {
  const course = new Course({ random: () => 1 })
  course.start()
  waits(course, [1006, 1006, 1006])
  course.token('t', 0)
  course.opened()
  course.frame(welcome, 0)
  assert.equal(told(course.closed(1006, '', 100))[0].retry_in_ms, 8_000)
  course.time(Infinity)
  course.token('t', 0)
  course.opened()
  course.frame(welcome, 0)
  assert.equal(told(course.closed(1006, '', 20_000))[0].retry_in_ms, 1_000)
})

test('going_away is obeyed, and nobody shortens its wait', () => {
  const course = online()
  course.frame({ type: 'going_away', data: { reconnect_in_ms: 730 } }, 10)
  assert.equal(told(course.closed(1012, '', 20))[0].retry_in_ms, 730)
  assert.deepEqual(course.wake(21), [])
  assert.deepEqual(names(course.time(750)), ['tell', 'token'])
})

test('a wake shortens a wait, unless there is no network', () => {
  const course = online()
  course.closed(1006, '', 0)
  course.network(false, 1)
  assert.deepEqual(course.wake(2), [])
  assert.deepEqual(names(course.network(true, 3)), ['tell', 'token'])
})

test('a quiet connection is pinged, and left when nothing comes', () => {
  const course = online()
  assert.equal(course.wakeAt, 25_000)
  assert.deepEqual(course.time(24_999), [])
  assert.deepEqual(course.time(25_000), [['send', { type: 'ping' }]])
  assert.deepEqual(names(course.time(35_000)), ['drop', 'tell'])
  assert.equal(course.phase, 'waiting')
})

test('whatever comes is a sign of life', () => {
  const course = online()
  course.time(25_000)
  course.frame({ type: 'e', id: 'c1', data: 1 }, 26_000)
  assert.equal(course.wakeAt, 50_000)
})

test('after a sleep it asks before it gives up', () => {
  const course = online()
  course.time(25_000)
  assert.deepEqual(course.time(9e6), [['send', { type: 'ping' }]])
  assert.deepEqual(names(course.time(9e6 + 10_000)), ['drop', 'tell'])
})

test('no welcome in time: it drops the socket and waits', () => {
  const course = new Course()
  course.start()
  course.token('t', 0)
  course.opened()
  assert.deepEqual(names(course.time(15_000)), ['drop', 'tell'])
  assert.deepEqual(course.closed(1006, '', 15_001), [])
})

test('an error to auth is no refusal', () => {
  const course = new Course()
  course.start()
  course.token('t', 0)
  course.opened()
  const steps = course.frame({ type: 'error', message_id: null, data: { code: 503, retry_after_ms: 70 } }, 1)
  assert.deepEqual(names(steps), ['drop', 'tell'])
  assert.equal(told(steps)[0].retry_in_ms, 70)
})

test('getToken that fails is tried again, and an empty token stops', () => {
  const course = new Course({ random: () => 1 })
  course.start()
  assert.equal(told(course.noToken(0))[0].status, 'offline')
  course.time(1_000)
  assert.equal(told(course.token(null, 1_000))[0].status, 'stopped')
})

test('a token that expires is replaced on the connection', () => {
  const course = online()
  assert.deepEqual(course.frame({ type: 'token_expiring', data: {} }, 1), [['token', true]])
  assert.deepEqual(course.token('t2', 2), [['send', { type: 'auth', data: { token: 't2' } }]])
})

test('recent ids are remembered, so many and no more', () => {
  const recent = new Recent(2)
  assert.deepEqual(['a', 'a', 'b', 'c', 'b', 'a'].map((id) => recent.add(id)), [true, false, true, true, false, true])
})
