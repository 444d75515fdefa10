-- Load what one partition knows of some users. Writes nothing.
--
-- KEYS[1] the log's stream   KEYS[2...] users' groups, then users' unread sets   ARGV[1] how many are the former
--
-- Returns {last id of the stream, {each user's groups and ids, alternating}, {each count, or -1}}.
-- A key of a wrong type is that of nobody here, and must not keep the others' from being read.
local last = '0-0'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      last = info[i + 1]
    end
  end
end
local function ask(command, key, otherwise)
  local found = redis.pcall(command, key)
  if type(found) == 'table' and found.err then
    if not string.find(found.err, 'WRONGTYPE', 1, true) then
      error(found.err)
    end
    return otherwise
  end
  return found
end

local groups, counts = {}, {}
for i = 2, 1 + tonumber(ARGV[1]) do
  groups[#groups + 1] = ask('HGETALL', KEYS[i], {})
end
for i = 2 + tonumber(ARGV[1]), #KEYS do
  counts[#counts + 1] = ask('ZCARD', KEYS[i], -1)
end
return {last, groups, counts}
