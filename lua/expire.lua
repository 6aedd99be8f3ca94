#!lua flags=allow-oom
-- expire: the leader takes out silent visitors, offers not claimed and sessions that are over, and sweeps old marks.
-- KEYS: config state wait seen active offered used revoked sources
-- ARGV: term most
--   term       the leader's. An older one than the room has seen does nothing
--   most       entries to move at most, up to 500
-- Replies: ok missing broken stale
--   ok now_us more abandoned no_show finished swept
--     more is 1 when the call stopped at `most`
--   missing            no such room
--   broken field       the room's settings cannot be read
--   stale term         a newer leader has acted
-- Cost: O(most log(waiting))
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key, sources_key = unpack(KEYS)

-- include: clock
-- include: settings
-- include: marks

local set, fault = settings({'abandon_seconds', 'ticket_seconds', 'longest_session_seconds'})
if not set then return fault end
local newest, led_us, resumed_us = marks_of('term', 'led_us', 'resumed_us')
-- Reading every set once makes a key of the wrong type stop the call before it writes.
redis.call('ZCARD', wait_key) redis.call('ZCARD', seen_key) redis.call('ZCARD', active_key)
redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key) redis.call('ZCARD', revoked_key)
redis.call('ZCARD', sources_key)

-- include: leader

local budget = most
-- Members of `key` scored below `before`, oldest first, within what is left of the budget. They are the first by rank,
-- so they can be taken out without being named.
local function due(key, before)
  if budget <= 0 then return {} end
  local found = redis.call('ZRANGE', key, '-inf', '(' .. int(before), 'BYSCORE', 'LIMIT', 0, budget)
  budget = budget - #found
  return found
end

local ended = due(active_key, now + 1)
local missed, turns = {}, {}
if #ended > 0 then
  local first, offered = redis.call('ZRANGE', offered_key, 0, 0, 'WITHSCORES'), {}
  if first[2] and tonumber(first[2]) <= now then offered = redis.call('ZMSCORE', offered_key, unpack(ended)) end
  for i, visitor in ipairs(ended) do
    -- A no-show never saw the turn: its ticket still holds, so it is not marked as used.
    if offered[i] then
      missed[#missed + 1] = visitor
    else
      turns[#turns + 1], turns[#turns + 2] = int(now), visitor
    end
  end
  if #turns > 0 then redis.call('ZADD', used_key, unpack(turns)) end
  if #missed > 0 then redis.call('ZREM', offered_key, unpack(missed)) end
  redis.call('ZREMRANGEBYRANK', active_key, 0, #ended - 1)
  redis.call('HINCRBY', state_key, 'no_show', #missed)
  redis.call('HINCRBY', state_key, 'finished', #turns / 2)
end

local abandoned = due(seen_key, quiet_since)
if #abandoned > 0 then
  redis.call('ZREM', wait_key, unpack(abandoned))
  redis.call('ZREMRANGEBYRANK', seen_key, 0, #abandoned - 1)
  redis.call('HINCRBY', state_key, 'abandoned', #abandoned)
end

local spent = due(used_key, now - set.ticket_seconds * 1000000)
if #spent > 0 then redis.call('ZREMRANGEBYRANK', used_key, 0, #spent - 1) end
local harmless = due(revoked_key, now - set.longest_session_seconds * 1000000)
if #harmless > 0 then redis.call('ZREMRANGEBYRANK', revoked_key, 0, #harmless - 1) end
local level = due(sources_key, now)
if #level > 0 then redis.call('ZREMRANGEBYRANK', sources_key, 0, #level - 1) end

note_round()
return {'ok', now, budget <= 0 and 1 or 0, #abandoned, #missed, #turns / 2, #spent + #harmless + #level}
