#!lua
-- enter: give each arrival a place: the one it holds, the one its ticket proves, a new one, or none.
-- KEYS: config state wait seen active offered used
-- ARGV: mode {fresh visitor serial issued_us}...
--   mode       queue, or direct (the gate): admit at once or not at all
--   fresh      the id to use when the visitor brings no good ticket
--   visitor    the id its ticket names, or empty; serial and issued_us come from the ticket, or are 0
-- Replies: ok missing broken
--   ok now_us {standing a b}...
--     waiting serial rank | offered serial expires_us | admitted serial expires_us | full 0 0 | closed 0 0 | must_wait 0 0
--     (a serial other than the ticket's is a new one and belongs to `fresh`; 0: offered by this call before)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key = unpack(KEYS)

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

local set, fault = settings({'capacity', 'admit_per_second', 'session_seconds', 'claim_seconds',
  'ticket_seconds', 'tickets_after_us', 'max_waiting'})
if not set then return fault end
local marks = redis.call('HMGET', state_key, 'last', 'tat_us', 'hold_until_us', 'turn_serial', 'spent_serial', 'spent_us')
local last, tat, hold_until = tonumber(marks[1]) or 0, tonumber(marks[2]) or 0, tonumber(marks[3]) or 0
local turn_serial, spent_serial, spent_us = tonumber(marks[4]) or 0, tonumber(marks[5]) or 0, tonumber(marks[6]) or 0
local waiting = redis.call('ZCARD', wait_key)
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
-- Reading every other set once makes a key of the wrong type stop the call before it writes.
redis.call('ZCARD', seen_key) redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)

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

local mode, visitors = ARGV[1], (#ARGV - 1) / 4
-- All arguments are read before anything is written. Most visitors bring no ticket.
local fresh, returners = {}, {}
for i = 1, visitors do
  local at = i * 4 - 2
  if ARGV[at + 1] == '' then
    fresh[#fresh + 1] = i
  else
    local serial, issued = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    if not serial or not issued then return {'broken', 'argument'} end
    returners[#returners + 1] = {i, ARGV[at + 1], serial, issued}
  end
end
local session_us, claim_us = set.session_seconds * 1000000, set.claim_seconds * 1000000
local oldest_ticket = math.max(now - set.ticket_seconds * 1000000, set.tickets_after_us)
local free = waiting == 0 and allowance(visitors) or 0
local reply, count = {'ok', now}, {}
local offered_until = int(now + claim_us)

local function bump(field, by) count[field] = (count[field] or 0) + (by or 1) end
local function answer(i, standing, a, b)
  reply[i * 3], reply[i * 3 + 1], reply[i * 3 + 2] = standing, a, b
end

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

-- shared: restorable
-- A ticket gives back its place unless it is too old, its turn is used, or it was issued before the room's data
-- were lost for a serial whose turn had come by then.
local function restorable(visitor, serial, issued)
  return serial > 0 and issued >= oldest_ticket and not redis.call('ZSCORE', used_key, visitor)
    and not (serial <= spent_serial and issued <= spent_us)
end
-- end

local function offer(visitor, serial)
  redis.call('ZADD', active_key, offered_until, visitor)
  redis.call('ZADD', offered_key, offered_until, visitor)
  free = free - 1
  turn_serial = math.max(turn_serial, serial)
  bump('admitted')
end

-- Those who bring a ticket come first: their serials are older. True when the visitor has an answer.
local function returning(i, visitor, serial, issued)
  local rank = redis.call('ZRANK', wait_key, visitor)
  if rank then
    redis.call('ZADD', seen_key, int(now), visitor)
    answer(i, 'waiting', serial, rank + 1)
    return true
  end
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then
    answer(i, 'admitted', serial, claim(visitor, expires))
    return true
  end
  if expires > 0 then retire(visitor) end
  if not restorable(visitor, serial, issued) then return false end
  if free <= 0 and mode == 'direct' then
    answer(i, 'must_wait', 0, 0)
    return true
  end
  last = math.max(last, serial)
  if free > 0 then
    offer(visitor, serial)
    answer(i, 'offered', serial, math.floor(now + claim_us))
  elseif waiting >= set.max_waiting then
    bump('refused_full')
    answer(i, 'full', 0, 0)
    return true
  else
    redis.call('ZADD', seen_key, int(now), visitor)
    redis.call('ZADD', wait_key, int(serial), visitor)
    waiting = waiting + 1
    answer(i, 'waiting', serial, redis.call('ZRANK', wait_key, visitor) + 1)
  end
  bump('restored')
  return true
end

local without_tickets = #fresh
for _, one in ipairs(returners) do
  local i, visitor, serial, issued = unpack(one)
  if issued < oldest_ticket or not returning(i, visitor, serial, issued) then fresh[#fresh + 1] = i end
end
if #fresh > without_tickets then table.sort(fresh) end
local ids = {}
for k, i in ipairs(fresh) do ids[k] = ARGV[i * 4 - 2] end

-- A fresh id that already has a place is this same call carried out twice: the place stands.
local held, inside = {}, {}
if #fresh > 0 then
  held, inside = redis.call('ZMSCORE', wait_key, unpack(ids)), redis.call('ZMSCORE', active_key, unpack(ids))
end
local arrivals, heard, at, heard_at = {}, {}, 1, int(now)
for k, i in ipairs(fresh) do
  local visitor = ids[k]
  if held[k] then
    answer(i, 'waiting', tonumber(held[k]), redis.call('ZRANK', wait_key, visitor) + 1)
  elseif inside[k] then
    answer(i, 'offered', 0, tonumber(inside[k]))
  elseif set.state == 'closed' then
    bump('refused_closed')
    answer(i, 'closed', 0, 0)
  elseif free <= 0 and mode == 'direct' then
    answer(i, 'must_wait', 0, 0)
  elseif free <= 0 and waiting >= set.max_waiting then
    bump('refused_full')
    answer(i, 'full', 0, 0)
  else
    last = math.max(last + 1, now)
    bump('entered')
    if free > 0 then
      offer(visitor, last)
      answer(i, 'offered', last, math.floor(now + claim_us))
    else
      waiting = waiting + 1
      arrivals[at], arrivals[at + 1] = int(last), visitor
      heard[at], heard[at + 1] = heard_at, visitor
      at = at + 2
      answer(i, 'waiting', last, waiting)
      free = 0
    end
  end
end
if at > 1 then
  redis.call('ZADD', seen_key, unpack(heard))
  redis.call('ZADD', wait_key, unpack(arrivals))
end
if count.entered or count.restored then
  redis.call('HSET', state_key, 'last', int(last))
end
if count.admitted then
  redis.call('HSET', state_key, 'tat_us', int(tat_after(count.admitted)), 'turn_serial', int(turn_serial), 'turn_us', int(now))
end
for field, by in pairs(count) do redis.call('HINCRBY', state_key, field, by) end
return reply
