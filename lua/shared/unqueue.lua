-- unqueue: a visitor waits no longer. True where they did.
-- Needs: wait_key seen_key
-- Gives: unqueue
local function unqueue(visitor)
  if redis.call('ZREM', wait_key, visitor) == 0 then return false end
  redis.call('ZREM', seen_key, visitor)
  return true
end
