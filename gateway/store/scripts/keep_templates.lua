-- Keep the message templates for publishers. Those of the process that started last are the ones that count, so that
-- old and new instances do not overwrite each other's while a new configuration is rolled out.
--
-- KEYS[1] templates   ARGV[1] JSON   ARGV[2] when the process started, as this script returned it, or ''
-- ARGV[3] time to live, ms
--
-- Returns when the process started.
local started = ARGV[2]
if started == '' then
  local time = redis.call('TIME')
  started = string.format('%.0f', time[1] * 1000000 + time[2])
end
local held = redis.call('HGET', KEYS[1], 'started')
if not held and ARGV[1] == '{}' then
  return started
end
if not held or tonumber(held) <= tonumber(started) then
  redis.call('HSET', KEYS[1], 'json', ARGV[1], 'started', started)
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return started
