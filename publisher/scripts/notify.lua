-- Append a notification to the log, and to the work that the gateways share, which write it into the inboxes: both or
-- neither, and at most once per idempotency key.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] work   KEYS[4] idempotency key (absent: append unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen, of either stream
-- ARGV[3] time to live of KEYS[4], ms   ARGV[4] time to live of KEYS[3], ms   ARGV[5] the partition
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
-- The work carries all that it needs: the log may be trimmed before it is done. `i` is the id that receivers see.
local id = appended[1] .. '.' .. ARGV[5] .. '.' .. appended[2]
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[2], '*', 'i', id, unpack(fields))
redis.call('PEXPIRE', KEYS[3], ARGV[4])
remember(KEYS[4], ARGV[3], appended)
return appended
