-- Add users to a group, or remove them, and announce it in the log: all of it, or nothing.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] the group's members   KEYS[4...] each user's groups, then, where the call
-- is to be told from its repetition, its idempotency key
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of the idempotency key, ms
-- ARGV[4] 'added' or 'removed'   ARGV[5] group   ARGV[6] number of users
-- ARGV[7...] each user's name, then each user's address in JSON, then the fields and values of the entry
--
-- Returns {entry id, epoch, number of users changed}; the first two are empty where nothing has changed.
-- include: append.lua
local count = tonumber(ARGV[6])
local key = KEYS[4 + count]
local before = key and redis.call('GET', key)
if before then
  local id, epoch, changed = string.match(before, '^(%S+) (%S+) (%d+)$')
  return {id, epoch, tonumber(changed)}
end
local adding = ARGV[4] == 'added'
local group = ARGV[5]

-- Look before anything is written: if the log takes no entry, the members stay as they are.
local changing, addresses = {}, {}
for i = 1, count do
  local listed = redis.call('ZSCORE', KEYS[3], ARGV[6 + i])
  local named = redis.call('HEXISTS', KEYS[3 + i], group) == 1
  -- Where one of the two keys was lost, the other is put right.
  if (adding and not (listed and named)) or (not adding and (listed or named)) then
    changing[#changing + 1] = i
    addresses[#addresses + 1] = ARGV[6 + count + i]
  end
end
if #changing == 0 then
  return {'', '', 0}
end

local fields = {unpack(ARGV, 7 + 2 * count)}
for i = 1, #fields, 2 do
  if fields[i] == 'to' then
    fields[i + 1] = '[' .. table.concat(addresses, ',') .. ']'
  end
end
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], fields)
local id = appended[1]
for _, i in ipairs(changing) do
  if adding then
    redis.call('ZADD', KEYS[3], string.match(id, '^%d+'), ARGV[6 + i])
    redis.call('HSET', KEYS[3 + i], group, id)
  else
    redis.call('ZREM', KEYS[3], ARGV[6 + i])
    redis.call('HDEL', KEYS[3 + i], group)
  end
end
if key then
  redis.call('SET', key, id .. ' ' .. appended[2] .. ' ' .. #changing, 'PX', ARGV[3])
end
return {id, appended[2], #changing}
