#!lua flags=allow-oom
-- status: tell each ticket's holder where they stand. Note that they were heard, and claim their offers.
-- KEYS: config state wait seen active offered used
-- ARGV: {visitor serial issued_us}...
-- Replies: ok missing broken
--   ok now_us {standing a}...
--     waiting rank | admitted expires_us | used 0 | expired 0 | full 0
--     (used: had their turn or left. expired: the ticket is older than ticket_seconds. full: gone silent and no room)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key = unpack(KEYS)

-- include: clock
-- include: settings
-- include: marks
-- include: counts

local set, fault = settings({'session_seconds', 'ticket_seconds', 'tickets_after_us', 'max_waiting'})
if not set then return fault end
local last, spent_serial, spent_us = marks_of('last', 'spent_serial', 'spent_us')
-- Reading every set once makes a key of the wrong type stop the call before it writes.
local waiting = redis.call('ZCARD', wait_key)
redis.call('ZCARD', seen_key) redis.call('ZCARD', active_key)
redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)

-- include: claim
-- include: retire
-- include: inside
-- include: restorable
-- include: wait_at

-- A visitor that did not wait when the call began.
local function standing(visitor, serial, issued)
  if issued < oldest_ticket then return 'expired', 0 end
  local rank = redis.call('ZRANK', wait_key, visitor)
  if rank then return 'waiting', rank + 1 end -- asked for twice by this call, and just put back
  local expires = inside_until(visitor)
  if expires then return 'admitted', expires end
  if not restorable(visitor, serial, issued) then return 'used', 0 end
  if waiting >= set.max_waiting then return 'full', 0 end
  last = math.max(last, drawn(serial))
  bump('restored')
  return 'waiting', wait_at(visitor, serial)
end

-- All arguments are read before anything is written, and most visitors wait: those are told at once.
local reply, heard, heard_at = {'ok', now}, {}, int(now)
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
note_counts()
return reply
