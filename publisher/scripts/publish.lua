-- Append an event to the log, at most once per idempotency key.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] idempotency key (absent: append unconditionally)
-- ARGV[1] maxlen   ARGV[2] time to live of KEYS[3], ms   ARGV[3] an epoch's name, should the log have none
-- ARGV[4...] the entry's fields and values
--
-- Returns {entry id, epoch, 1 if it was appended, 0 if the key was known}.
-- A stream that is not there is a new log, and a new log has a new epoch: cursors of the old one are told apart
-- from the first event on, whoever comes first, a publisher or a gateway.
local epoch = redis.call('GET', KEYS[2])
if not epoch or redis.call('EXISTS', KEYS[1]) == 0 then
  epoch = ARGV[3]
  redis.call('SET', KEYS[2], epoch)
end
if KEYS[3] then
  local id = redis.call('GET', KEYS[3])
  if id then
    return {id, epoch, 0}
  end
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, 4))
if KEYS[3] then
  redis.call('SET', KEYS[3], id, 'PX', ARGV[2])
end
return {id, epoch, 1}
