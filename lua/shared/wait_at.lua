-- wait_at: a visitor waits at a serial that need not be the last. Returns the rank.
-- Needs: now int wait_key seen_key waiting
-- Gives: wait_at
local function wait_at(visitor, serial)
  redis.call('ZADD', seen_key, int(now), visitor)
  redis.call('ZADD', wait_key, int(serial), visitor)
  waiting = waiting + 1
  return redis.call('ZRANK', wait_key, visitor) + 1
end
