-- Read what is known of one event's receipt. Writes nothing.
--
-- KEYS[1] stream   KEYS[2] the reports
-- ARGV[1] not used   ARGV[2] the entry's id
--
-- Returns {the entry's fields and values, the reports' fields and values, and name and idle time (ms) of each consumer
-- group}: what the log has of the event, what the instances say of it, and which instances there are.
local entry = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
local readers = {}
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group[2])) do
      -- Fields by their place, which is the same in all versions: name, then pending, then idle.
      readers[#readers + 1] = group[2]
      readers[#readers + 1] = consumer[6]
    end
  end
end
return {entry[1] and entry[1][2] or {}, redis.call('HGETALL', KEYS[2]), readers}
