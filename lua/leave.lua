#!lua flags=allow-oom
-- leave: visitors say goodbye, waiting or inside; their place is free at once, their ticket and pass are spent.
-- KEYS: config state wait seen active offered used revoked
-- ARGV: {visitor pass}...
--   pass       1: a pass may be out there, and is withdrawn wherever its holder stands; 0: only if they are inside;
--              2: their session is over, as far as the caller knows: who is inside stays, of others the ticket is spent
-- Replies: ok missing broken
--   ok now_us {standing}...
--     left | unknown     (unknown: had no place any more; the ticket is spent all the same)
--   missing            no such room
--   broken field       the call's arguments cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key = unpack(KEYS)

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function int(n) return string.format('%.0f', n) end

if redis.call('EXISTS', config_key) == 0 then return {'missing'} end
-- Reading every key once makes a key of the wrong type stop the call before it writes.
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key)
redis.call('ZCARD', active_key) redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)
redis.call('ZCARD', revoked_key)

for i = 2, #ARGV, 2 do
  if not tonumber(ARGV[i]) then return {'broken', 'argument'} end
end
local reply, left, no_show, finished = {'ok', now}, 0, 0, 0

local function leave(visitor, pass)
  if pass == 2 and redis.call('ZSCORE', active_key, visitor) then return 'unknown' end
  redis.call('ZADD', used_key, int(now), visitor)
  if pass == 1 then redis.call('ZADD', revoked_key, int(now), visitor) end
  if redis.call('ZREM', wait_key, visitor) == 1 then
    redis.call('ZREM', seen_key, visitor)
    left = left + 1
    return 'left'
  end
  local expires = redis.call('ZSCORE', active_key, visitor)
  if not expires then return 'unknown' end
  redis.call('ZADD', revoked_key, int(now), visitor)
  redis.call('ZREM', active_key, visitor)
  local offered = redis.call('ZREM', offered_key, visitor) == 1
  if tonumber(expires) > now then
    left = left + 1
    return 'left'
  end
  if offered then no_show = no_show + 1 else finished = finished + 1 end
  return 'unknown'
end

for i = 1, #ARGV, 2 do reply[#reply + 1] = leave(ARGV[i], tonumber(ARGV[i + 1])) end
redis.call('HINCRBY', state_key, 'left', left)
redis.call('HINCRBY', state_key, 'no_show', no_show)
redis.call('HINCRBY', state_key, 'finished', finished)
return reply
