-- Remember a revocation and announce it in the log: both or neither.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] revocations   KEYS[4] idempotency key (absent: announce unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[4], ms
-- ARGV[4] member of the revocations   ARGV[5] how long to remember it, ms
-- ARGV[6...] the fields and values of the entry that announces it
--
-- Returns as publish.lua does, and treats epoch and key as that does.
if KEYS[4] then
  local known = redis.call('GET', KEYS[4])
  if known then
    local id, epoch = string.match(known, '^(%S+) (%S+)$')
    return {id, epoch, 0}
  end
end
-- The server's clock: publishers' clocks differ, and a forgotten revocation is a hole.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('(%.0f', now))
-- GT: revoking again for a shorter time does not shorten it.
redis.call('ZADD', KEYS[3], 'GT', string.format('%.0f', now + ARGV[5]), ARGV[4])
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', tonumber(last)))
local epoch = redis.call('GET', KEYS[2])
if not epoch or redis.call('EXISTS', KEYS[1]) == 0 then
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 6))
if KEYS[4] then
  redis.call('SET', KEYS[4], id .. ' ' .. epoch, 'PX', ARGV[3])
end
return {id, epoch, 1}
