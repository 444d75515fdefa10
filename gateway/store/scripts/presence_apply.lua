-- Carry out a batch of joins and leaves of one instance, and announce in the log what changes for the cluster: the
-- first instance that holds a user, and the last one that lets go.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] instances   KEYS[4] what it holds   KEYS[5] tenants
-- KEYS[6...] the hashes: users → instances
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] instance   ARGV[4] token of the process
-- ARGV[5] number of the batch   ARGV[6] time to live of the hashes, ms; what names the instances in them lives twice as
-- long   ARGV[7] '1': then forget the instance, if it holds nothing   ARGV[8...] changes:
--   'join' or 'leave', the hash's number in KEYS, the member of what is held, the user, the tenant where the hash is
--   of all its users or '', how many fields and values follow, those of the entry that announces the change
--
-- Returns {1, how much it holds}; or {0} where another process speaks for the instance, or has said something later:
-- a batch that was held up on its way must not undo what came after it. Repeating a batch announces nothing again.
-- include: append.lua
local instance = ARGV[3]
local token, number, beat = string.match(redis.call('HGET', KEYS[3], instance) or '', '^(%S+) (%d+) (%d+)$')
if token ~= ARGV[4] or tonumber(number) > tonumber(ARGV[5]) then
  return {0}
end

local tenants = {}  -- by the hash of all their users
local at = 8
while ARGV[at] do
  local joins, hash, user, tenant = ARGV[at] == 'join', KEYS[tonumber(ARGV[at + 1])], ARGV[at + 3], ARGV[at + 4]
  local first_field, fields = at + 6, tonumber(ARGV[at + 5])
  local others = {}
  local held = false
  for id in string.gmatch(redis.call('HGET', hash, user) or '', '%S+') do
    if id == instance then
      held = true
    else
      others[#others + 1] = id
    end
  end
  redis.call(joins and 'SADD' or 'SREM', KEYS[4], ARGV[at + 2])
  if joins ~= held then
    if joins then
      redis.call('HSET', hash, user, table.concat({instance, unpack(others)}, ' '))
    elseif #others > 0 then
      redis.call('HSET', hash, user, table.concat(others, ' '))
    else
      redis.call('HDEL', hash, user)
    end
    if #others == 0 and fields > 0 then
      append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {unpack(ARGV, first_field, first_field + fields - 1)})
    end
  end
  if tenant ~= '' then
    tenants[hash] = tenant
  end
  at = first_field + fields
end
for hash, tenant in pairs(tenants) do
  redis.call(redis.call('EXISTS', hash) == 1 and 'SADD' or 'SREM', KEYS[5], tenant)
end

if ARGV[7] == '1' and redis.call('EXISTS', KEYS[4]) == 0 then
  redis.call('HDEL', KEYS[3], instance)
else
  redis.call('HSET', KEYS[3], instance, token .. ' ' .. ARGV[5] .. ' ' .. beat)
end
for key = 3, #KEYS do
  redis.call('PEXPIRE', KEYS[key], key > 5 and ARGV[6] or 2 * ARGV[6])
end
return {1, redis.call('SCARD', KEYS[4])}
