-- Take an entry out of its group's history and say so in the log: both or neither.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] history   KEYS[4] idempotency key (absent: announce unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[4], ms
-- ARGV[4] id of the entry in the log   ARGV[5] epoch of that log
-- ARGV[6...] the fields and values of the entry that announces it
--
-- Returns as publish.lua does.
-- include: append.lua
local before = known(KEYS[4])
if before then
  return before
end
local function take_out(entries)
  for _, entry in ipairs(entries) do
    local named = {}
    for i = 1, #entry[2], 2 do
      named[entry[2][i]] = entry[2][i + 1]
    end
    if named.ep == ARGV[5] and (named.i or entry[1]) == ARGV[4] then
      redis.call('XDEL', KEYS[3], entry[1])
      return true
    end
  end
  return false
end
if not take_out(redis.call('XRANGE', KEYS[3], ARGV[4], ARGV[4])) then
  -- Kept under an id of the history's own (see publish_kept.lua), or not at all; only new messages are recalled.
  take_out(redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', 1000))
end
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {unpack(ARGV, 6)})
remember(KEYS[4], ARGV[3], appended)
return appended
