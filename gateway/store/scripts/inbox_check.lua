-- Count an inbox anew, and compare; writes only where it is to repair.
--
-- KEYS and ARGV: see inbox.lua. Then: 1 to repair
--
-- Returns {notifications, unread ones as they are served, unread ones as counted anew, ids in the order that are no
-- notifications, notifications that are not in the order}.
-- include: append.lua
-- include: inbox.lua
local box = box_at(3)
local count = tonumber(ARGV[6])
local fields, repairs = {unpack(ARGV, 7, 6 + count)}, ARGV[7 + count] == '1'
local there = {}
local stray, lost, hidden = {}, {}, {}
for _, id in ipairs(redis.call('HKEYS', box.hash)) do
  there[id] = true
  if not redis.call('ZSCORE', box.order, id) then
    hidden[#hidden + 1] = id
  end
end
for _, id in ipairs(redis.call('ZRANGE', box.unread, 0, -1)) do
  if not there[id] then
    stray[#stray + 1] = id
  end
end
for _, id in ipairs(redis.call('ZRANGE', box.order, 0, -1)) do
  if not there[id] then
    lost[#lost + 1] = id
  end
end
local served = redis.call('ZCARD', box.unread)
local found = {redis.call('HLEN', box.hash), served, served - #stray, #lost, #hidden}
if repairs then
  forget(box, stray)
  forget(box, lost)
  for _, id in ipairs(hidden) do
    if score_of(id) then
      redis.call('ZADD', box.order, score_of(id), id)
    else
      forget(box, {id})
    end
  end
  for _, key in pairs(box) do
    if redis.call('PTTL', key) == -1 then
      redis.call('PEXPIRE', key, ARGV[4])
    end
  end
  announce(box, served, fields)
end
return found
