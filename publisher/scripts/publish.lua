-- Append an event to the log, at most once per idempotency key.
--
-- KEYS[1] stream   KEYS[2] epoch   KEYS[3] idempotency key (absent: append unconditionally)
-- ARGV[1] an epoch's name, should the log have none   ARGV[2] maxlen   ARGV[3] time to live of KEYS[3], ms
-- ARGV[4...] the entry's fields and values
--
-- Returns {entry id, epoch, 1 if it was appended, 0 if the key was known}.
-- include: append.lua
local before = known(KEYS[3])
if before then
  return before
end
local appended = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], {unpack(ARGV, 4)})
remember(KEYS[3], ARGV[3], appended)
return appended
