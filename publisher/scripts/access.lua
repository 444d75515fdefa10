-- Remember an address rule, or forget it, and announce that in the log: both or neither.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] rules   KEYS[4] idempotency key (absent: announce unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[4], ms
-- ARGV[4] `block`, `allow` or `clear`   ARGV[5] network   ARGV[6] how long to remember it, ms   ARGV[7] most rules
-- ARGV[8...] the fields and values of the entry that announces it
--
-- Returns as publish.lua does; an error where there are too many rules.
-- include: append.lua
-- include: clock.lua
local before = known(KEYS[4])
if before then
  return before
end
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('(%.0f', now))
-- A network has one rule: the newest.
redis.call('ZREM', KEYS[3], 'block ' .. ARGV[5], 'allow ' .. ARGV[5])
if ARGV[4] ~= 'clear' then
  if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then
    return redis.error_reply('TOOMANY there are ' .. ARGV[7] .. ' address rules already: clear some')
  end
  redis.call('ZADD', KEYS[3], string.format('%.0f', now + ARGV[6]), ARGV[4] .. ' ' .. ARGV[5])
end
local last = redis.call('ZREVRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
if last then
  redis.call('PEXPIREAT', KEYS[3], string.format('%.0f', tonumber(last)))
end
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {unpack(ARGV, 8)})
remember(KEYS[4], ARGV[3], appended)
return appended
