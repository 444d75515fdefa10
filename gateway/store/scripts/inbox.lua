-- Shared by the scripts that change inboxes; included by a line `-- include: inbox.lua`, below that of append.lua.
--
-- A box is one user's inbox: `hash`, id → notification; `order`, all ids; `unread`, those that are not read. Both sets
-- are scored by age. What every such script is told:
--
-- KEYS[1] log   KEYS[2] its epoch
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] its maxlen
-- ARGV[3] most notifications of a box   ARGV[4] how long they are kept, ms
-- ARGV[5] where in the fields of an announcement the data stands   ARGV[6] how many fields it has
-- include: clock.lua

local function box_at(first)
  return {hash = KEYS[first], order = KEYS[first + 1], unread = KEYS[first + 2]}
end

-- Exact: below 2^53 until the year 2248. More than 1,024 ids in one ms are in the order of their text.
local function score_of(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)')
  return ms and string.format('%.0f', tonumber(ms) * 1024 + math.min(tonumber(n), 1023))
end

local function forget(box, ids)
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    redis.call('HDEL', box.hash, unpack(ids, first, last))
    redis.call('ZREM', box.order, unpack(ids, first, last))
    redis.call('ZREM', box.unread, unpack(ids, first, last))
  end
end

-- Forget what is too old or too much. Writes nothing where there is none, so that a read-only server can be read.
local function trim(box)
  local horizon = (now_ms() - tonumber(ARGV[4])) * 1024
  local gone = redis.call('ZRANGEBYSCORE', box.order, '-inf', string.format('(%.0f', horizon))
  local over = redis.call('ZCARD', box.order) - #gone - tonumber(ARGV[3])
  if over > 0 then
    for _, id in ipairs(redis.call('ZRANGE', box.order, #gone, #gone + over - 1)) do
      gone[#gone + 1] = id
    end
  end
  forget(box, gone)
end

-- Tell all the user's devices how many are unread, if that is not `before` any more; return the number.
local function announce(box, before, fields)
  local unread = redis.call('ZCARD', box.unread)
  if unread ~= before then
    fields[tonumber(ARGV[5])] = '{"unread_count":' .. unread .. '}'
    append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], fields)
  end
  return unread
end

-- For a script about one box, at KEYS[3...5], with the fields of its announcement from ARGV[7] on: return the box,
-- trimmed, and the arguments that follow. To be ended with `closed`.
local function opened()
  local box = box_at(3)
  local count = tonumber(ARGV[6])
  box.before = redis.call('ZCARD', box.unread)
  box.fields = {unpack(ARGV, 7, 6 + count)}
  trim(box)
  return box, {unpack(ARGV, 7 + count)}
end

local function closed(box)
  return announce(box, box.before, box.fields)
end

