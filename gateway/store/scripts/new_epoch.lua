-- Begin a new epoch, unless another instance has done so already.
--
-- KEYS[1] epoch   ARGV[1] the epoch that has ended   ARGV[2] the new one
-- Returns the epoch in force.
local epoch = redis.call('GET', KEYS[1])
if epoch and epoch ~= ARGV[1] then
  return epoch
end
redis.call('SET', KEYS[1], ARGV[2])
return ARGV[2]
