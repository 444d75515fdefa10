-- Carry out a batch of joins and leaves of one instance, and announce in the log what changes for the cluster: the
-- first instance that holds a user, and the last one that lets go.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] instances   KEYS[4] what it holds   KEYS[5] tenants
-- KEYS[6...] the hashes: users → instances
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] instance   ARGV[4] token of the process
-- ARGV[5] number of the batch   ARGV[6] time to live of the hashes, ms; what names the instances in them lives twice as
-- long   ARGV[7] '1': then forget the instance, if it holds nothing
-- ARGV[8] JSON: for each hash, in their order, the changes there:
--   {"held": what stands before a user in what is held, "tenant": whose users all of them are, or "",
--    "join": [user], "leave": [user], "announce": {user: [fields and values of the entry that announces the change]}}
--
-- Returns {1, how much it holds}; or {0} where another process speaks for the instance, or has said something later:
-- a batch that was held up on its way must not undo what came after it. Repeating a batch announces nothing again.
-- include: append.lua
local instance = ARGV[3]
local token, number, beat = string.match(redis.call('HGET', KEYS[3], instance) or '', '^(%S+) (%d+) (%d+)$')
if token ~= ARGV[4] or tonumber(number) > tonumber(ARGV[5]) then
  return {0}
end

-- Where it has anything to do.
local function call_with(command, key, arguments)
  if #arguments > 0 then
    redis.call(command, key, unpack(arguments))
  end
end

-- Return whether this instance is among those of a hash's value, and the others.
local function split(holders)
  local held, others = false, {}
  for id in string.gmatch(holders or '', '%S+') do
    if id == instance then
      held = true
    else
      others[#others + 1] = id
    end
  end
  return held, others
end

local function change(hash, scope, users, joins)
  if #users == 0 then
    return
  end
  local members, kept, removed = {}, {}, {}
  for index, holders in ipairs(redis.call('HMGET', hash, unpack(users))) do
    local user = users[index]
    local held, others = split(holders)
    members[index] = scope.held .. user
    if joins ~= held then
      if not joins and #others == 0 then
        removed[#removed + 1] = user
      else
        kept[#kept + 1] = user
        kept[#kept + 1] = table.concat(joins and {instance, unpack(others)} or others, ' ')
      end
      if #others == 0 and scope.announce[user] then
        append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], scope.announce[user])
      end
    end
  end
  redis.call(joins and 'SADD' or 'SREM', KEYS[4], unpack(members))
  call_with('HSET', hash, kept)
  call_with('HDEL', hash, removed)
end

for index, scope in ipairs(cjson.decode(ARGV[8])) do
  local hash = KEYS[5 + index]
  change(hash, scope, scope.join, true)
  change(hash, scope, scope.leave, false)
  if scope.tenant ~= '' then
    redis.call(redis.call('EXISTS', hash) == 1 and 'SADD' or 'SREM', KEYS[5], scope.tenant)
  end
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
