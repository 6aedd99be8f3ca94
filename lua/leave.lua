#!lua flags=allow-oom
-- leave: visitors say goodbye, waiting or inside. Their place is free at once, their ticket and pass are spent.
-- KEYS: config state wait seen active offered used revoked
-- ARGV: {visitor proof}...
--   proof      pass: one may be out there, and is withdrawn wherever its holder stands. ticket: only if they are inside
-- Replies: ok missing broken
--   ok now_us {standing}...
--     left | unknown     (unknown: had no place any more. The ticket is spent all the same)
--   missing            no such room
--   broken field       the call's arguments cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key = unpack(KEYS)

-- include: clock
-- include: counts
-- include: retire
-- include: unqueue

if redis.call('EXISTS', config_key) == 0 then return {'missing'} end
-- Reading every key once makes a key of the wrong type stop the call before it writes.
redis.call('HLEN', state_key) redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key)
redis.call('ZCARD', active_key) redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)
redis.call('ZCARD', revoked_key)

for i = 2, #ARGV, 2 do
  if ARGV[i] ~= 'pass' and ARGV[i] ~= 'ticket' then return {'broken', 'proof'} end
end

local function leave(visitor, proof)
  redis.call('ZADD', used_key, int(now), visitor)
  if proof == 'pass' then redis.call('ZADD', revoked_key, int(now), visitor) end
  if unqueue(visitor) then
    bump('left')
    return 'left'
  end
  local expires = redis.call('ZSCORE', active_key, visitor)
  if not expires then return 'unknown' end
  redis.call('ZADD', revoked_key, int(now), visitor)
  if tonumber(expires) <= now then
    retire(visitor)
    return 'unknown'
  end
  redis.call('ZREM', active_key, visitor)
  redis.call('ZREM', offered_key, visitor)
  bump('left')
  return 'left'
end

local reply = {'ok', now}
for i = 1, #ARGV, 2 do reply[#reply + 1] = leave(ARGV[i], ARGV[i + 1]) end
note_counts()
return reply
