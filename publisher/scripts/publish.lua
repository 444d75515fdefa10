-- Append an event to the log, at most once per idempotency key.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] idempotency key (absent: append unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[3], ms
-- ARGV[4...] the entry's fields and values
--
-- Returns {entry id, epoch, 1 if it was appended, 0 if the key was known}.
-- A known key answers with the epoch of its own time: the log may have been lost since.
-- A stream that is not there is a new log, and a new log has a new epoch: cursors of the old one are told apart
-- from the first event on, whoever comes first, a publisher or a gateway.
if KEYS[3] then
  local known = redis.call('GET', KEYS[3])
  if known then
    local id, epoch = string.match(known, '^(%S+) (%S+)$')
    return {id, epoch, 0}
  end
end
local epoch = redis.call('GET', KEYS[2])
if not epoch or redis.call('EXISTS', KEYS[1]) == 0 then
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', unpack(ARGV, 4))
if KEYS[3] then
  redis.call('SET', KEYS[3], id .. ' ' .. epoch, 'PX', ARGV[3])
end
return {id, epoch, 1}
