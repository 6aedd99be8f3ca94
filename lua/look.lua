#!lua flags=no-writes
-- look: tell where each visitor stands, for visitors that only watch: none counts as heard, nothing is claimed.
-- KEYS: config wait active offered
-- ARGV: {visitor}...
-- Replies: ok missing
--   ok now_us {standing a}...
--     waiting rank | offered expires_us | admitted expires_us | unknown 0
--     (unknown: neither in the queue nor inside. Their ticket may still give the place back)
--   missing            no such room
-- Cost: O(n log(waiting)), n visitors
local config_key, wait_key, active_key, offered_key = unpack(KEYS)

-- include: clock
if not redis.call('HGET', config_key, 'state') then return {'missing'} end
-- Reading every set once makes a key of the wrong type stop the call, also where no visitor is looked for in it.
redis.call('ZCARD', active_key) redis.call('ZCARD', offered_key)

local function standing(visitor)
  local rank = redis.call('ZRANK', wait_key, visitor)
  if rank then return 'waiting', rank + 1 end
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires <= now then return 'unknown', 0 end
  if redis.call('ZSCORE', offered_key, visitor) then return 'offered', expires end
  return 'admitted', expires
end

local reply = {'ok', now}
for _, visitor in ipairs(ARGV) do
  local word, a = standing(visitor)
  reply[#reply + 1], reply[#reply + 2] = word, a
end
return reply
