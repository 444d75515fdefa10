-- List the members of a group, in the order in which they were added.
--
-- KEYS[1] the group's members   ARGV[2] how many to leave out   ARGV[3] how many to list   (ARGV[1] is not used)
-- Returns {how many there are, {user, ...}}.
local first = tonumber(ARGV[2])
return {redis.call('ZCARD', KEYS[1]), redis.call('ZRANGE', KEYS[1], first, first + tonumber(ARGV[3]) - 1)}
