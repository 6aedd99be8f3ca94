#!lua flags=allow-oom
-- finish: an instance remembers that sessions have ended: a visitor that is inside all the same stays, of others the turn
-- is used from now on.
-- KEYS: config state wait seen active used
-- ARGV: {visitor}...
-- Replies: ok missing
--   ok now_us {standing}...
--     left | unknown     (left: had waited. unknown: is inside, or had no place)
--   missing            no such room
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, used_key = unpack(KEYS)

-- include: clock
-- include: counts
-- include: unqueue

if redis.call('EXISTS', config_key) == 0 then return {'missing'} end
-- Reading every key once makes a key of the wrong type stop the call before it writes.
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key)
redis.call('ZCARD', active_key) redis.call('ZCARD', used_key)

local reply = {'ok', now}
local function finish(visitor)
  if redis.call('ZSCORE', active_key, visitor) then return 'unknown' end
  redis.call('ZADD', used_key, int(now), visitor)
  if not unqueue(visitor) then return 'unknown' end
  bump('left')
  return 'left'
end

for _, visitor in ipairs(ARGV) do reply[#reply + 1] = finish(visitor) end
note_counts()
return reply
