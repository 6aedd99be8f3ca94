-- put_back: a session with a lost record goes on until `expires` if its pass is good and there is room for it.
-- Needs: now int set state_key wait_key seen_key active_key offered_key used_key revoked_key bump retire unqueue
-- Gives: put_back ended
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
-- Reading every key once makes a key of the wrong type stop the call before it writes.
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key)
redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key) redis.call('ZCARD', revoked_key)

local function put_back(visitor, proven, expires)
  if redis.call('ZSCORE', used_key, visitor) or redis.call('ZSCORE', revoked_key, visitor) then return 'used', 0 end
  local full = set.capacity > 0 and occupancy >= set.capacity
  if full or proven <= now then return 'unknown', 0 end
  redis.call('ZADD', active_key, int(expires), visitor)
  occupancy = occupancy + 1
  -- A visitor that waits and holds a good pass was admitted by a store that is gone: a failover lost the move only.
  bump(unqueue(visitor) and 'admitted' or 'restored')
  return 'admitted', expires
end

-- The record is there, and says that the place inside is over.
local function ended(visitor)
  retire(visitor)
  return redis.call('ZSCORE', used_key, visitor) and 'used' or 'unknown', 0
end
