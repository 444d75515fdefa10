-- Make the group that shares the work, if it is not there: from the oldest work on.
--
-- KEYS[1] work   ARGV[1] group   ARGV[2] time to live of KEYS[1], ms
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
  return made
end
if redis.call('PTTL', KEYS[1]) == -1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
