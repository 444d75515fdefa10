-- Write one notification into the inboxes of its users, exactly once: whoever acknowledges the work does it.
--
-- KEYS and ARGV[1...6] see inbox.lua   KEYS[3] work   KEYS[4...] hash, order and unread of each user
-- ARGV[7] group   ARGV[8] id of the work   ARGV[9] id of the notification   ARGV[10] its JSON
-- ARGV[11...] for each user, the fields of the announcement
--
-- Returns {1 if this call did it, 0 if it was done before; then for each user that failed, number and error}.
-- include: append.lua
-- include: inbox.lua
-- The first write: where it is refused (read-only, out of memory) nothing has happened, and what follows it is not
-- refused any more (scriptVerifyOOM and scriptVerifyWriteCommandAllow in Redis' script.c).
if redis.call('XACK', KEYS[3], ARGV[7], ARGV[8]) == 0 then
  return {0}
end
redis.call('XDEL', KEYS[3], ARGV[8])

local function write(box, fields)
  local before = redis.call('ZCARD', box.unread)
  redis.call('HSET', box.hash, ARGV[9], ARGV[10])
  redis.call('ZADD', box.order, score_of(ARGV[9]), ARGV[9])
  redis.call('ZADD', box.unread, score_of(ARGV[9]), ARGV[9])
  trim(box)
  for _, key in pairs(box) do
    redis.call('PEXPIRE', key, ARGV[4])
  end
  announce(box, before, fields)
end

local done = {1}
local count = tonumber(ARGV[6])
for user = 1, (#KEYS - 3) / 3 do
  local first = 11 + (user - 1) * count
  local fine, problem = pcall(write, box_at(1 + 3 * user), {unpack(ARGV, first, first + count - 1)})
  if not fine then -- a key of another type, say: no reason to keep it from the others
    done[#done + 1] = user
    done[#done + 1] = tostring(type(problem) == 'table' and problem.err or problem)
  end
end
return done
