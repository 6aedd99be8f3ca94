#!lua flags=allow-oom
-- admit: the leader offers places to the head of the wait queue, as many as state, capacity and rate allow.
-- KEYS: config state wait seen active offered
-- ARGV: term most
--   term       the leader's; an older one than the room has seen does nothing
--   most       visitors to move at most, up to 500
-- Replies: ok missing broken stale
--   ok now_us waiting occupancy more serial...
--     more is 1 when another call could admit at once; a serial for each visitor admitted, in order
--   missing            no such room
--   broken field       the room's settings cannot be read
--   stale term         a newer leader has acted
-- Cost: O(most log(waiting))
local config_key, state_key, wait_key, seen_key, active_key, offered_key = unpack(KEYS)

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

local set, fault = settings({'capacity', 'admit_per_second', 'claim_seconds', 'abandon_seconds'})
if not set then return fault end
local marks = redis.call('HMGET', state_key, 'term', 'tat_us', 'hold_until_us', 'turn_serial',
  'pace_at_us', 'pace_admitted', 'pace_us', 'pace_ended', 'pace_stay_us', 'pace_last_admitted', 'admitted',
  'pace_last_inside')
local tat, hold_until, turn_serial = tonumber(marks[2]) or 0, tonumber(marks[3]) or 0, tonumber(marks[4]) or 0
local term, most = tonumber(ARGV[1]), math.min(tonumber(ARGV[2]), 500)
if term < (tonumber(marks[1]) or 0) then return {'stale', tonumber(marks[1])} end
local waiting = redis.call('ZCARD', wait_key)
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
redis.call('ZCARD', seen_key) redis.call('ZCARD', offered_key)

-- shared: allowance
-- How many may be admitted now. The rate is a generic cell rate (ITU-T I.371): tat_us is when the next admission is
-- due. Up to 0.2 s of lateness is made up for, so that ticks lose nothing; after a longer pause 0.2 s of admissions,
-- at least one, come at once. In any window of w seconds that is at most 1 + (0.2 + w) * rate.
local late_us = 200000
local function due()
  local interval = 1000000 / set.admit_per_second
  -- One farther ahead than this rate can have set comes from a lower rate, or from before the clock was set back.
  if now - tat <= late_us and tat - now <= interval + 1 then return tat end
  return now - (math.max(1, math.floor(late_us / interval)) - 1) * interval
end
local function allowance(most)
  if set.state == 'bypass' then return most end
  if set.state ~= 'open' or now < hold_until then return 0 end
  if set.capacity > 0 then most = math.min(most, set.capacity - occupancy) end
  if set.admit_per_second > 0 then
    most = math.min(most, 1 + math.floor((now - due()) * set.admit_per_second / 1000000 + 0.000001))
  end
  return math.max(most, 0)
end
local function tat_after(admitted)
  if set.admit_per_second == 0 or set.state == 'bypass' then return tat end
  return math.ceil(due() + admitted * 1000000 / set.admit_per_second)
end
-- end

-- What the eta rests on, all fading with a time constant of 60 s: admissions and time under demand (while somebody
-- waits and may be admitted), and, at any time, the places inside that ended and the visitor-seconds spent inside.
local function pace(admitted)
  local function old(i) return tonumber(marks[i]) or 0 end
  local step = math.min(math.max(now - (tonumber(marks[5]) or now), 0), 5000000)
  local fade = math.exp(-step / 60000000)
  local demand, demand_us = old(6), old(7)
  if waiting > 0 and set.state ~= 'paused' and set.state ~= 'closed' and now >= hold_until then
    demand, demand_us = demand * fade + admitted, demand_us * fade + step
  end
  local came = old(11) - old(10)
  local ended = old(8) * fade + math.max(old(12) + came - occupancy, 0)
  local stay_us = old(9) * fade + occupancy * step
  return {'pace_at_us', int(now), 'pace_admitted', string.format('%.6f', demand), 'pace_us', int(demand_us),
    'pace_ended', string.format('%.6f', ended), 'pace_stay_us', int(stay_us),
    'pace_last_admitted', int(old(11) + admitted), 'pace_last_inside', int(occupancy + admitted)}
end

local places = allowance(math.min(most, waiting))
local offers, names, serials, silent = {}, {}, {}, {}
if places > 0 then
  local head = redis.call('ZRANGE', wait_key, 0, places - 1, 'WITHSCORES')
  local ids = {}
  for i = 1, #head, 2 do ids[#ids + 1] = head[i] end
  local heard = redis.call('ZMSCORE', seen_key, unpack(ids))
  local deadline, quiet_since = int(now + set.claim_seconds * 1000000), now - set.abandon_seconds * 1000000
  for i, visitor in ipairs(ids) do
    -- Nobody who has gone silent is offered a place that another could use; their ticket brings them back.
    if tonumber(heard[i] or 0) < quiet_since then
      silent[#silent + 1] = visitor
    else
      offers[#offers + 1], offers[#offers + 2] = deadline, visitor
      names[#names + 1], serials[#serials + 1] = visitor, tonumber(head[i * 2])
    end
  end
end
local measured = pace(#names)
if #names > 0 then
  -- Into the new sets first, then out of the old: a visitor is never in neither.
  redis.call('ZADD', active_key, unpack(offers))
  redis.call('ZADD', offered_key, unpack(offers))
  redis.call('ZREM', wait_key, unpack(names))
  redis.call('ZREM', seen_key, unpack(names))
  turn_serial = math.max(turn_serial, serials[#serials])
  redis.call('HSET', state_key, 'tat_us', int(tat_after(#names)), 'turn_serial', int(turn_serial), 'turn_us', int(now))
  redis.call('HINCRBY', state_key, 'admitted', #names)
end
if #silent > 0 then
  redis.call('ZREM', wait_key, unpack(silent))
  redis.call('ZREM', seen_key, unpack(silent))
  redis.call('HINCRBY', state_key, 'abandoned', #silent)
end
redis.call('HSET', state_key, 'term', int(term), unpack(measured))

occupancy, waiting = occupancy + #names, waiting - #names - #silent
tat = tat_after(#names)
local more = waiting > 0 and (#silent > 0 or #names == 500) and allowance(1)
local reply = {'ok', now, waiting, occupancy, (more == 1) and 1 or 0}
for _, serial in ipairs(serials) do reply[#reply + 1] = serial end
return reply
