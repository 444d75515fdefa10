-- List the groups of a user that one partition knows.
--
-- KEYS[1] the user's groups
-- Returns {group, ...}, in no order.
return redis.call('HKEYS', KEYS[1])
