-- Remove the consumers of instances that are gone. One that has work is kept until that is claimed: it would be lost.
--
-- KEYS[1] work   ARGV[1] group   ARGV[2] idle for longer than this, ms
-- Returns how many were removed.
local removed = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local facts = {}
  for at = 1, #consumer, 2 do
    facts[consumer[at]] = consumer[at + 1]
  end
  if facts['pending'] == 0 and facts['idle'] > tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], facts['name'])
    removed = removed + 1
  end
end
return removed
