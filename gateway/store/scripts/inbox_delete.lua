-- Delete a notification.
--
-- KEYS and ARGV: see inbox.lua. Then: its id
-- Returns {how many are unread now, 1 if it was there}.
-- include: append.lua
-- include: inbox.lua
local box, args = opened()
local known = redis.call('HEXISTS', box.hash, args[1])
forget(box, args)
return {closed(box), known}
