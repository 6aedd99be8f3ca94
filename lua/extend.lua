#!lua flags=allow-oom
-- extend: visitors with a pass were heard: claim an offer, lengthen a sliding session, put back a session whose
-- record was lost while there is room for it.
-- KEYS: config state wait active offered used revoked
-- ARGV: {visitor expires_us}...     the expiry that the pass proves
-- Replies: ok missing broken
--   ok now_us {standing a}...
--     admitted expires_us | used 0 | unknown 0
--     (used: finished or left; unknown: not inside, and no room to put the session back)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(active)), n visitors
local config_key, state_key, wait_key, active_key, offered_key, used_key, revoked_key = unpack(KEYS)

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
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key)
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

local function put_back(visitor, proven)
  if redis.call('ZSCORE', used_key, visitor) or redis.call('ZSCORE', revoked_key, visitor) then return 'used', 0 end
  local full = set.capacity > 0 and occupancy >= set.capacity
  if full or proven <= now or redis.call('ZSCORE', wait_key, visitor) then return 'unknown', 0 end
  proven = math.min(proven, math.floor(now + session_us))
  redis.call('ZADD', active_key, int(proven), visitor)
  occupancy = occupancy + 1
  bump('restored')
  return 'admitted', proven
end

local function standing(visitor, proven)
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then return 'admitted', lengthen(visitor, claim(visitor, expires)) end
  if expires == 0 then return put_back(visitor, proven) end
  retire(visitor)
  return redis.call('ZSCORE', used_key, visitor) and 'used' or 'unknown', 0
end

for i = 1, #ARGV, 2 do
  if not tonumber(ARGV[i + 1]) then return {'broken', 'argument'} end
end

for i = 1, #ARGV, 2 do
  local word, a = standing(ARGV[i], tonumber(ARGV[i + 1]))
  reply[#reply + 1], reply[#reply + 2] = word, a
end
for field, by in pairs(count) do redis.call('HINCRBY', state_key, field, by) end
return reply
