#!lua
-- enter: give each arrival a place: the one it holds, the one its ticket proves, a new one, or none.
-- KEYS: config state wait seen active offered used revoked sources
-- ARGV: mode {fresh visitor serial issued_us}... or guarded {fresh visitor serial issued_us keyed priority address network}...
--   mode       queue; direct (the gate): admit at once or not at all; guarded: queue, by more than the ticket
--   fresh      the id to use when the visitor brings no good ticket
--   visitor    the id its ticket names, or empty; serial and issued_us come from the ticket, or are 0
--   keyed      1: `fresh` is made of what its holder proved, and has one place and one turn however often it comes
--   priority   1: a new place is in front of all that have none
--   address    whose places are counted, and likewise network; empty: nobody's
-- Replies: ok missing broken
--   ok now_us {standing a b}...
--     waiting serial rank | offered serial expires_us | admitted serial expires_us | full 0 0 | closed 0 0 | must_wait 0 0
--     | used 0 0 | limited 0 again_us
--     (a serial other than the ticket's is a new one and belongs to `fresh`; 0: `fresh` is inside by a call before;
--     used: a keyed id had its turn; limited: the address or network may take its next place at again_us)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key, sources_key = unpack(KEYS)

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
redis.call('ZCARD', revoked_key) redis.call('ZCARD', sources_key)

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

local mode = ARGV[1]
local guarded = mode == 'guarded'
local stride = guarded and 8 or 4
local visitors = (#ARGV - 1) / stride
local function argument(i, which) return ARGV[(i - 1) * stride + 1 + which] end
-- All arguments are read before anything is written. Most visitors bring no ticket.
local fresh, returners = {}, {}
for i = 1, visitors do
  local at = (i - 1) * stride + 2
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
-- were lost for a serial whose turn had come by then. Serials of the priority lane are drawn like all others, and stand
-- lane_us lower: in front of all that waited in the last 47 years.
local lane_us = 1500000000000000
local function drawn(serial) return serial < lane_us and serial + lane_us or serial end
local function restorable(visitor, serial, issued)
  return serial > 0 and issued >= oldest_ticket and not redis.call('ZSCORE', used_key, visitor)
    and not (drawn(serial) <= spent_serial and issued <= spent_us)
end
-- end

local function offer(visitor, serial)
  redis.call('ZADD', active_key, offered_until, visitor)
  redis.call('ZADD', offered_key, offered_until, visitor)
  free = free - 1
  -- Nobody waits: whoever drew a lower number, in either lane, had their turn or went silent.
  turn_serial = math.max(turn_serial, drawn(serial))
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
  last = math.max(last, drawn(serial))
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

-- Whoever comes by what they proved, and not for the first time. True when the visitor has an answer.
local function known(i, visitor)
  local serial = redis.call('ZSCORE', wait_key, visitor)
  if serial then
    redis.call('ZADD', seen_key, int(now), visitor)
    answer(i, 'waiting', tonumber(serial), redis.call('ZRANK', wait_key, visitor) + 1)
    return true
  end
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then
    answer(i, 'admitted', 0, claim(visitor, expires))
    return true
  end
  if expires > 0 then retire(visitor) end
  if not redis.call('ZSCORE', used_key, visitor) and not redis.call('ZSCORE', revoked_key, visitor) then return false end
  answer(i, 'used', 0, 0)
  return true
end

local without_tickets = #fresh
for _, one in ipairs(returners) do
  local i, visitor, serial, issued = unpack(one)
  if issued < oldest_ticket or not returning(i, visitor, serial, issued) then fresh[#fresh + 1] = i end
end
if #fresh > without_tickets then table.sort(fresh) end

-- Of the guarded those stay whose id has no place yet, the priority lane first; an id that stands twice in this call is
-- answered once, and that holds for both.
local twins = {}
local function newcomers()
  local first, others, by_id = {}, {}, {}
  for _, i in ipairs(fresh) do
    local visitor, keyed, priority = argument(i, 1), argument(i, 5) == '1', argument(i, 6) == '1'
    if by_id[visitor] then
      twins[#twins + 1] = {i, by_id[visitor]}
    else
      by_id[visitor] = i
      if not (keyed and known(i, visitor)) then
        local lane = priority and first or others
        lane[#lane + 1] = i
      end
    end
  end
  for _, i in ipairs(others) do first[#first + 1] = i end
  return first
end

-- The places of one source, an address or a network, are a generic cell rate too: so many at once, and as many again
-- over ticket_seconds. True when the visitor has an answer, for a source of theirs has taken its places.
local most_of = {}
local function limited(i)
  local again, due = 0, {}
  for which = 7, 8 do
    local source, most = argument(i, which), most_of[which]
    if source ~= '' and most > 0 then
      local interval = set.ticket_seconds * 1000000 / most
      local score = tonumber(redis.call('ZSCORE', sources_key, source) or 0)
      -- One farther ahead than this limit can have set comes from another one, or from before the clock was set back.
      local tat = score > now + most * interval + 1 and now or math.max(now, score)
      again = math.max(again, tat - (most - 1) * interval)
      due[#due + 1], due[#due + 2] = int(tat + interval), source
    end
  end
  if again <= now then
    if #due > 0 then redis.call('ZADD', sources_key, unpack(due)) end
    return false
  end
  bump('refused_limited')
  answer(i, 'limited', 0, math.ceil(again))
  return true
end

if guarded then
  local limits = redis.call('HMGET', config_key, 'places_per_address', 'places_per_network')
  most_of = {[7] = tonumber(limits[1]) or 0, [8] = tonumber(limits[2]) or 0}
  fresh = newcomers()
end
local ids = {}
for k, i in ipairs(fresh) do ids[k] = argument(i, 1) end

-- A fresh id that already has a place is this same call carried out twice: the place stands.
local held, inside = {}, {}
if #fresh > 0 then
  held, inside = redis.call('ZMSCORE', wait_key, unpack(ids)), redis.call('ZMSCORE', active_key, unpack(ids))
end
local arrivals, heard, at, heard_at = {}, {}, 1, int(now)

-- A new place: inside where there is room, else at the end of the lane.
local function place(i, visitor)
  last = math.max(last + 1, now)
  bump('entered')
  local serial = guarded and argument(i, 6) == '1' and last - lane_us or last
  if free > 0 then
    offer(visitor, serial)
    answer(i, 'offered', serial, math.floor(now + claim_us))
    return
  end
  waiting, free = waiting + 1, 0
  if serial < last then
    redis.call('ZADD', seen_key, heard_at, visitor)
    redis.call('ZADD', wait_key, int(serial), visitor)
    answer(i, 'waiting', serial, redis.call('ZRANK', wait_key, visitor) + 1)
  else
    arrivals[at], arrivals[at + 1] = int(last), visitor
    heard[at], heard[at + 1] = heard_at, visitor
    at = at + 2
    answer(i, 'waiting', last, waiting)
  end
end

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
  elseif not (guarded and limited(i)) then
    place(i, visitor)
  end
end
for _, twin in ipairs(twins) do
  local i, other = twin[1] * 3, twin[2] * 3
  reply[i], reply[i + 1], reply[i + 2] = reply[other], reply[other + 1], reply[other + 2]
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
