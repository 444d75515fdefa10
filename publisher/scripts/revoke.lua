-- Remember a revocation and announce it in the log: both or neither.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] revocations   KEYS[4] idempotency key (absent: announce unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[4], ms
-- ARGV[4] member of the revocations   ARGV[5] how long to remember it, ms
-- ARGV[6...] the fields and values of the entry that announces it
--
-- Returns as publish.lua does.
-- include: append.lua
-- include: clock.lua
local before = known(KEYS[4])
if before then
  return before
end
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('(%.0f', now))
-- GT: revoking again for a shorter time does not shorten it.
redis.call('ZADD', KEYS[3], 'GT', string.format('%.0f', now + ARGV[5]), ARGV[4])
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', tonumber(last)))
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {unpack(ARGV, 6)})
remember(KEYS[4], ARGV[3], appended)
return appended
