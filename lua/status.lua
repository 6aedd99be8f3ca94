#!lua flags=allow-oom
-- status: tell each ticket's holder where they stand; note that they were heard; claim what was offered to them.
-- KEYS: config state wait seen active offered used
-- ARGV: {visitor serial issued_us}...
-- Replies: ok missing broken
--   ok now_us {standing a}...
--     waiting rank | admitted expires_us | used 0 | expired 0 | full 0
--     (used: had their turn or left; expired: the ticket is older than ticket_seconds; full: gone silent and no room)
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

local set, fault = settings({'session_seconds', 'ticket_seconds', 'tickets_after_us', 'max_waiting'})
if not set then return fault end
local marks = redis.call('HMGET', state_key, 'last', 'spent_serial', 'spent_us')
local last, spent_serial, spent_us = tonumber(marks[1]) or 0, tonumber(marks[2]) or 0, tonumber(marks[3]) or 0
-- Reading every set once makes a key of the wrong type stop the call before it writes.
local waiting = redis.call('ZCARD', wait_key)
redis.call('ZCARD', seen_key) redis.call('ZCARD', active_key)
redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)

local session_us = set.session_seconds * 1000000
local oldest_ticket = math.max(now - set.ticket_seconds * 1000000, set.tickets_after_us)
local reply, count, heard, heard_at = {'ok', now}, {}, {}, int(now)
local function bump(field, by) count[field] = (count[field] or 0) + (by or 1) end

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

-- Whoever did not wait when the call began.
local function standing(visitor, serial, issued)
  if issued < oldest_ticket then return 'expired', 0 end
  local rank = redis.call('ZRANK', wait_key, visitor)
  if rank then return 'waiting', rank + 1 end -- asked for twice by this call, and just put back
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then return 'admitted', claim(visitor, expires) end
  if expires > 0 then retire(visitor) end
  if not restorable(visitor, serial, issued) then return 'used', 0 end
  if waiting >= set.max_waiting then return 'full', 0 end
  redis.call('ZADD', seen_key, heard_at, visitor)
  redis.call('ZADD', wait_key, int(serial), visitor)
  waiting, last = waiting + 1, math.max(last, drawn(serial))
  bump('restored')
  return 'waiting', redis.call('ZRANK', wait_key, visitor) + 1
end

-- All arguments are read before anything is written, and most visitors wait: those are told at once.
local others, size, at, to = {}, 0, 1, 3
for i = 1, #ARGV, 3 do
  local visitor, serial, issued = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  if not serial or not issued then return {'broken', 'argument'} end
  local rank = issued >= oldest_ticket and redis.call('ZRANK', wait_key, visitor)
  if rank then
    reply[to], reply[to + 1] = 'waiting', rank + 1
    heard[at], heard[at + 1] = heard_at, visitor
    at = at + 2
  else
    size = size + 1
    others[size], reply[to], reply[to + 1] = {to, visitor, serial, issued}, '', 0
  end
  to = to + 2
end
for _, other in ipairs(others) do
  local i, visitor, serial, issued = unpack(other)
  reply[i], reply[i + 1] = standing(visitor, serial, issued)
end
if #heard > 0 then redis.call('ZADD', seen_key, unpack(heard)) end
if count.restored then redis.call('HSET', state_key, 'last', int(last)) end
for field, by in pairs(count) do redis.call('HINCRBY', state_key, field, by) end
return reply
