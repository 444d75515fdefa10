-- Take or renew an instance's lease.
--
-- KEYS[1] lease   ARGV[1] token of the process   ARGV[2] time to live, ms
-- ARGV[3] token of a former holder that is known to be dead, or ''   ARGV[4...] fields and values
--
-- Returns {} when it is held, else the fields and values of the process that holds it.
local holder = redis.call('HGET', KEYS[1], 'token')
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then
  return redis.call('HGETALL', KEYS[1])
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {}
