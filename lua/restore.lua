#!lua flags=allow-oom
-- restore: an instance remembers sessions, no visitor was heard: put sessions with a lost record back while there is room
-- for them, and nothing more.
-- KEYS: config state wait seen active offered used revoked
-- ARGV: {visitor expires_us}...
--   expires_us   until when the session lasts, as far as the instance knows
-- Replies: ok missing broken
--   ok now_us {standing a}...
--     admitted expires_us | used 0 | unknown 0
--     (used: finished or left. unknown: not inside, and no room to put the session back)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(active)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key = unpack(KEYS)

-- include: clock
-- include: settings
-- include: counts

local set, fault = settings({'capacity', 'session_seconds'})
if not set then return fault end
-- include: retire
-- include: unqueue
-- include: put_back

-- Another instance may have put the session back for less than it was granted since.
local function lengthen(visitor, expires, proven)
  if proven <= expires or redis.call('ZSCORE', offered_key, visitor) then return expires end
  redis.call('ZADD', active_key, int(proven), visitor)
  return proven
end

local whole = math.floor(now + set.session_seconds * 1000000)
local function standing(visitor, proven)
  local expires, remembered = tonumber(redis.call('ZSCORE', active_key, visitor) or 0), math.min(proven, whole)
  if expires > now then return 'admitted', lengthen(visitor, expires, remembered) end
  if expires > 0 then return ended(visitor) end
  return put_back(visitor, proven, remembered)
end

for i = 2, #ARGV, 2 do
  if not tonumber(ARGV[i]) then return {'broken', 'argument'} end
end

local reply = {'ok', now}
for i = 1, #ARGV, 2 do
  reply[i + 2], reply[i + 3] = standing(ARGV[i], tonumber(ARGV[i + 1]))
end
note_counts()
return reply
