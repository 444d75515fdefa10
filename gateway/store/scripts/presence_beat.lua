-- Say that an instance lives, and see who else does.
--
-- KEYS[1] instances   KEYS[2] what it holds   KEYS[3] tenants   KEYS[4] epoch
-- ARGV[1] instance   ARGV[2] token of the process   ARGV[3] time to live, ms
--
-- Returns {1 if this process speaks for the instance, epoch or '', number of its last batch, how much it holds,
-- instances and what stands there, alternating}.
-- include: clock.lua
local token, number = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%S+) (%d+) ')
local mine = token == ARGV[2]
if mine then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %s %.0f', token, number, now_ms()))
  for key = 1, 3 do
    redis.call('PEXPIRE', KEYS[key], ARGV[3])
  end
end
return {
  mine and 1 or 0, redis.call('GET', KEYS[4]) or '', number or '0', redis.call('SCARD', KEYS[2]),
  redis.call('HGETALL', KEYS[1]),
}
