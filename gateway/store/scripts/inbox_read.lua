-- Mark notifications as read: those named, or all.
--
-- KEYS and ARGV: see inbox.lua. Then: 1 for all, and if not, the ids
-- Returns {how many are unread now, how many were before and are not any more, how many of the ids there are}.
-- include: append.lua
-- include: inbox.lua
local box, args = opened()
local changed, known = 0, 0
if args[1] == '1' then
  changed = redis.call('ZCARD', box.unread)
  known = changed
  redis.call('DEL', box.unread)
else
  for at = 2, #args do
    known = known + redis.call('HEXISTS', box.hash, args[at])
    changed = changed + redis.call('ZREM', box.unread, args[at])
  end
end
return {closed(box), changed, known}
