-- claim: an admitted visitor was heard, and an offer becomes a session. Returns when the place inside ends.
-- Needs: now int set active_key offered_key bump
-- Gives: session_us claim
local session_us = set.session_seconds * 1000000
local function claim(visitor, expires)
  if not redis.call('ZSCORE', offered_key, visitor) then return expires end
  expires = math.floor(now + session_us)
  redis.call('ZADD', active_key, int(expires), visitor)
  redis.call('ZREM', offered_key, visitor)
  bump('claimed')
  return expires
end
