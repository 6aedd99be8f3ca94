#!lua flags=allow-oom
-- extend: visitors with a pass were heard: claim an offer, lengthen a sliding session, put back a session whose
-- record was lost while there is room for it.
-- KEYS: config state wait seen active offered used revoked
-- ARGV: {visitor expires_us use}...
--   expires_us   until when the pass is good
--   use          0: the pass of a session was shown; 1: that of an offer, which is claimed by this;
--                2: nobody was heard, an instance remembers the session: only put it back
-- Replies: ok missing broken
--   ok now_us {standing a}...
--     admitted expires_us | used 0 | unknown 0
--     (used: finished or left; unknown: not inside, and no room to put the session back)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(active)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key = unpack(KEYS)

-- shared: prelude
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(n) return string.format('%.0f', n) end
local function settings(names)
  local values, found = redis.call('HMGET', config_key, 'state', unpack(names)), {}
  if not values[1] then return nil, {'missing'} end
  for i, name in ipairs(names) do
    found[name] = tonumber(values[i + 1])
    if not found[name] then return nil, {'broken', name} end
  end
  found.state = values[1]
  return found
end
-- end

local set, fault = settings({'capacity', 'session_seconds', 'sliding'})
if not set then return fault end
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
-- Reading every key once makes a key of the wrong type stop the call before it writes.
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key)
redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key) redis.call('ZCARD', revoked_key)

local session_us = set.session_seconds * 1000000
local reply, count = {'ok', now}, {}
local function bump(field, by) count[field] = (count[field] or 0) + (by or 1) end

-- shared: claim
-- An admitted visitor was heard: an offer becomes a session. Returns when the place inside ends.
local function claim(visitor, expires)
  if not redis.call('ZSCORE', offered_key, visitor) then return expires end
  expires = math.floor(now + session_us)
  redis.call('ZADD', active_key, int(expires), visitor)
  redis.call('ZREM', offered_key, visitor)
  bump('claimed')
  return expires
end
-- end

-- shared: retire
-- The place inside is over: never claimed is a no-show, whose ticket still holds; otherwise the turn is used.
local function retire(visitor)
  if redis.call('ZSCORE', offered_key, visitor) then
    bump('no_show')
  else
    redis.call('ZADD', used_key, int(now), visitor)
    bump('finished')
  end
  redis.call('ZREM', active_key, visitor)
  redis.call('ZREM', offered_key, visitor)
end
-- end

local function lengthen(visitor, expires)
  if set.sliding == 0 then return expires end
  expires = math.max(expires, math.floor(now + session_us))
  redis.call('ZADD', active_key, int(expires), visitor)
  return expires
end

-- Who waits and holds a good pass was admitted by a store that is gone: a failover lost the move, not the pass.
local function put_back(visitor, proven, use)
  if redis.call('ZSCORE', used_key, visitor) or redis.call('ZSCORE', revoked_key, visitor) then return 'used', 0 end
  local full = set.capacity > 0 and occupancy >= set.capacity
  if full or proven <= now then return 'unknown', 0 end
  local expires = math.floor(now + session_us)
  -- A sliding session is lengthened by the pass that is shown, as it would be by showing it again.
  if use == 2 or (use == 0 and set.sliding == 0) then expires = math.min(proven, expires) end
  redis.call('ZADD', active_key, int(expires), visitor)
  occupancy = occupancy + 1
  if redis.call('ZREM', wait_key, visitor) == 1 then
    redis.call('ZREM', seen_key, visitor)
    bump('admitted')
  else
    bump('restored')
  end
  if use == 1 then bump('claimed') end
  return 'admitted', expires
end

-- Another instance may have put the session back for less than it was granted since.
local function remembered(visitor, expires, proven)
  proven = math.min(proven, math.floor(now + session_us))
  if proven <= expires or redis.call('ZSCORE', offered_key, visitor) then return expires end
  redis.call('ZADD', active_key, int(proven), visitor)
  return proven
end

local function standing(visitor, proven, use)
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now and use == 2 then return 'admitted', remembered(visitor, expires, proven) end
  if expires > now then return 'admitted', lengthen(visitor, claim(visitor, expires)) end
  if expires == 0 then return put_back(visitor, proven, use) end
  retire(visitor)
  return redis.call('ZSCORE', used_key, visitor) and 'used' or 'unknown', 0
end

for i = 1, #ARGV, 3 do
  if not tonumber(ARGV[i + 1]) or not tonumber(ARGV[i + 2]) then return {'broken', 'argument'} end
end

for i = 1, #ARGV, 3 do
  local word, a = standing(ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]))
  reply[#reply + 1], reply[#reply + 2] = word, a
end
for field, by in pairs(count) do redis.call('HINCRBY', state_key, field, by) end
return reply
