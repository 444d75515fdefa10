-- Shared by every script that writes to the log; included by a line `-- include: append.lua`.
--
-- A known idempotency key answers with the id and the epoch of its own time: the log may have been lost since.
-- A stream that is not there is a new log, and a new log has a new epoch: cursors of the old one are told apart
-- from the first event on, whoever comes first, a publisher or a gateway.
local function known(key)
  local found = key and redis.call('GET', key)
  if not found then
    return nil
  end
  local id, epoch = string.match(found, '^(%S+) (%S+)$')
  return {id, epoch, 0}
end

-- Append one entry; `fields` is the list of its fields and values. Returns {id, epoch, 1}, as the scripts do.
local function append(stream, epoch_key, new_epoch, maxlen, fields)
  local epoch = redis.call('GET', epoch_key)
  local id = epoch and redis.call('XADD', stream, 'NOMKSTREAM', 'MAXLEN', '~', maxlen, '*', unpack(fields))
  if not id then
    epoch = new_epoch
    redis.call('SET', epoch_key, epoch)
    id = redis.call('XADD', stream, 'MAXLEN', '~', maxlen, '*', unpack(fields))
  end
  return {id, epoch, 1}
end

local function remember(key, ttl_ms, appended)
  if key then
    redis.call('SET', key, appended[1] .. ' ' .. appended[2], 'PX', ttl_ms)
  end
end

