#!lua flags=allow-oom
-- extend: visitors with a pass were heard: claim an offer, lengthen a sliding session, put back a session with a lost
-- record while there is room for it.
-- KEYS: config state wait seen active offered used revoked
-- ARGV: {visitor expires_us kind}...
--   expires_us   until when the pass is good
--   kind         session: the pass of a session was shown. offer: that of an offer, which this claims
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

local set, fault = settings({'capacity', 'session_seconds', 'sliding'})
if not set then return fault end
-- include: claim
-- include: retire
-- include: unqueue
-- include: put_back

local function lengthen(visitor, expires)
  if set.sliding == 0 then return expires end
  expires = math.max(expires, math.floor(now + session_us))
  redis.call('ZADD', active_key, int(expires), visitor)
  return expires
end

local function standing(visitor, proven, kind)
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then return 'admitted', lengthen(visitor, claim(visitor, expires)) end
  if expires > 0 then return ended(visitor) end
  expires = math.floor(now + session_us)
  -- A sliding session is lengthened by the pass that is shown, as it would be by showing it again.
  if kind == 'session' and set.sliding == 0 then expires = math.min(proven, expires) end
  local word, until_us = put_back(visitor, proven, expires)
  if kind == 'offer' and word == 'admitted' then bump('claimed') end
  return word, until_us
end

for i = 1, #ARGV, 3 do
  if not tonumber(ARGV[i + 1]) then return {'broken', 'argument'} end
  if ARGV[i + 2] ~= 'session' and ARGV[i + 2] ~= 'offer' then return {'broken', 'kind'} end
end

local reply = {'ok', now}
for i = 1, #ARGV, 3 do
  local word, a = standing(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2])
  reply[#reply + 1], reply[#reply + 2] = word, a
end
note_counts()
return reply
