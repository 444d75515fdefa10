-- Return how many notifications are unread.
--
-- KEYS and ARGV: see inbox.lua.
-- include: append.lua
-- include: inbox.lua
return closed((opened()))
