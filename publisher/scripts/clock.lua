-- The server's clock in ms since 1970, for scripts that include this: the clocks of those who call differ.
local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
