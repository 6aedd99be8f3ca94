-- clock: the time of the call, read once, and integers as texts.
-- Needs: nothing
-- Gives: now (µs) int
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(n) return string.format('%.0f', n) end
