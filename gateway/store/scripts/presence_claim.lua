-- Become the process that speaks for an instance.
--
-- KEYS[1] instances   KEYS[2] what it holds   KEYS[3] epoch
-- ARGV[1] instance   ARGV[2] token of the process   ARGV[3] number of its next batch   ARGV[4] time to live, ms
-- ARGV[5] what must still stand there, or ''   ARGV[6] how long the others need to tell theirs anew, ms, or 0
--
-- Returns {1, epoch or '', how much it holds}, or {0} where something else stands there.
-- include: clock.lua
if ARGV[5] ~= '' and redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[5] then
  return {0}
end
local now = now_ms()
redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %s %.0f', ARGV[2], ARGV[3], now))
if ARGV[6] ~= '0' then
  redis.call('HSET', KEYS[1], '*', string.format('%.0f', now + ARGV[6]))
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return {1, redis.call('GET', KEYS[3]) or '', redis.call('SCARD', KEYS[2])}
