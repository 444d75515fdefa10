-- Give an instance's lease back, if it is still one's own.
--
-- KEYS[1] lease   ARGV[1] token of the process
if redis.call('HGET', KEYS[1], 'token') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
