-- Append an event to the log and to its group's history: both or neither, and once per idempotency key.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] history   KEYS[4] idempotency key (absent: append unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[4], ms
-- ARGV[4] most entries of the history   ARGV[5] how long it keeps them, ms
-- ARGV[6...] the entry's fields and values
--
-- Returns as publish.lua does.
-- include: append.lua
local before = known(KEYS[4])
if before then
  return before
end
local fields = {unpack(ARGV, 6)}
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], fields)
remember(KEYS[4], ARGV[3], appended)
local function failed(reply)
  return type(reply) == 'table' and reply.err
end
-- In the history the id is the same, and the epoch stands beside it: a history outlives its log.
local id, epoch = appended[1], appended[2]
fields[#fields + 1] = 'ep'
fields[#fields + 1] = epoch
local kept = redis.pcall('XADD', KEYS[3], 'MAXLEN', ARGV[4], id, unpack(fields))
if failed(kept) then
  -- A log that was lost and began anew under a clock that is behind: its ids are below the history's newest. Then the
  -- history goes on with ids of its own. pcall again, because the event is in the log, and must not be reported lost.
  fields[#fields + 1] = 'i'
  fields[#fields + 1] = id
  kept = redis.pcall('XADD', KEYS[3], 'MAXLEN', ARGV[4], '*', unpack(fields))
end
if not failed(kept) then
  local horizon = tonumber(string.match(id, '^%d+')) - ARGV[5]
  redis.call('XTRIM', KEYS[3], 'MINID', '~', string.format('%.0f', math.max(horizon, 0)))
  redis.call('PEXPIRE', KEYS[3], ARGV[5])
end
return appended
