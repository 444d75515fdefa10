-- Look at a log, and make it if it is not there.
--
-- KEYS[1] stream   KEYS[2] epoch   ARGV[1] an epoch's name, should the log have none
-- ARGV[2] the reader's group   ARGV[3] its consumer   ARGV[4] the last id that it has read (absent: not asked)
--
-- Returns {epoch, last id, entries ever added, length, first id or '', newest id or '', age (ms) of the oldest
-- entry that is not read yet, by the clock of this server, which gives ids: another's may be wrong}.
-- Writes nothing where nothing is missing, so that it works on a server that is read-only. A stream that is not
-- there is a new log and has a new epoch, as in the publisher's publish.lua.
-- include: clock.lua
local there = redis.call('EXISTS', KEYS[1]) == 1
local epoch = redis.call('GET', KEYS[2])
if not there or not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch)
end
if not there then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[2], '0', 'MKSTREAM')
  redis.call('XGROUP', 'CREATECONSUMER', KEYS[1], ARGV[2], ARGV[3])
end
local found = {}
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  found[info[i]] = info[i + 1]
end
local first, newest = found['first-entry'], found['last-entry']
local behind = 0
if ARGV[4] then
  local unread = redis.call('XRANGE', KEYS[1], '(' .. ARGV[4], '+', 'COUNT', 1)[1]
  if unread then
    behind = now_ms() - tonumber(string.match(unread[1], '^%d+'))
  end
end
return {
  epoch, found['last-generated-id'], found['entries-added'], found['length'],
  first and first[1] or '', newest and newest[1] or '', behind,
}
