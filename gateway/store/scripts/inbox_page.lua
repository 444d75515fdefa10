-- Read a page of an inbox, the newest first.
--
-- KEYS and ARGV: see inbox.lua. Then: how many to skip, how many to return, 1 for unread ones only,
-- how the JSON has to begin ('' for any)
--
-- Returns {how many there are in all, how many are unread, then for each: id, JSON, 1 if it is unread}.
-- include: append.lua
-- include: inbox.lua
local box, args = opened()
local skip, most, prefix = tonumber(args[1]), tonumber(args[2]), args[4]
local set = args[3] == '1' and box.unread or box.order
local found = {0, closed(box)}

local function add(id, text)
  found[#found + 1] = id
  found[#found + 1] = text
  found[#found + 1] = redis.call('ZSCORE', box.unread, id) and 1 or 0
end

if prefix == '' then
  found[1] = redis.call('ZCARD', set)
  for _, id in ipairs(redis.call('ZREVRANGE', set, skip, skip + most - 1)) do
    local text = redis.call('HGET', box.hash, id)
    if text then
      add(id, text)
    end
  end
  return found
end
local ids = redis.call('ZREVRANGE', set, 0, -1)
for first = 1, #ids, 100 do
  local texts = redis.call('HMGET', box.hash, unpack(ids, first, math.min(first + 99, #ids)))
  for at, text in ipairs(texts) do
    if text and string.sub(text, 1, #prefix) == prefix then
      found[1] = found[1] + 1
      if found[1] > skip and found[1] <= skip + most then
        add(ids[first + at - 1], text)
      end
    end
  end
end
return found
