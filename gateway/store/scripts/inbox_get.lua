-- Read one notification.
--
-- KEYS and ARGV: see inbox.lua. Then: its id
-- Returns {JSON, 1 if it is unread}, or {} where there is none.
-- include: append.lua
-- include: inbox.lua
local box, args = opened()
closed(box)
local text = redis.call('HGET', box.hash, args[1])
if not text then
  return {}
end
return {text, redis.call('ZSCORE', box.unread, args[1]) and 1 or 0}
