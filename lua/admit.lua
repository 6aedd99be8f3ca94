#!lua flags=allow-oom
-- admit: the leader offers places to the head of the wait queue, as many as state, capacity and rate allow.
-- KEYS: config state wait seen active offered
-- ARGV: term most
--   term       the leader's. An older one than the room has seen does nothing
--   most       visitors to move at most, up to 500
-- Replies: ok missing broken stale
--   ok now_us waiting occupancy more serial...
--     more is 1 when another call could admit at once. A serial for each visitor admitted, in order
--   missing            no such room
--   broken field       the room's settings cannot be read
--   stale term         a newer leader has acted
-- Cost: O(most log(waiting))
local config_key, state_key, wait_key, seen_key, active_key, offered_key = unpack(KEYS)

-- include: clock
-- include: settings

local set, fault = settings({'capacity', 'admit_per_second', 'claim_seconds', 'abandon_seconds', 'ticket_seconds',
  'session_seconds'})
if not set then return fault end
local fields = {'term', 'tat_us', 'hold_until_us', 'turn_serial', 'entered', 'admitted', 'finished', 'no_show',
  'pace_at_us', 'pace_admitted', 'pace_us', 'pace_stay_us', 'pace_ended', 'pace_early', 'pace_no_show',
  'pace_wait_us', 'pace_gone', 'pace_last_admitted', 'pace_last_inside', 'pace_last_finished', 'pace_last_no_show',
  'pace_last_waiting', 'led_us', 'resumed_us', 'pace_last_gone'}
local marks, found = {}, redis.call('HMGET', state_key, unpack(fields))
for i, field in ipairs(fields) do marks[field] = tonumber(found[i]) or 0 end
local tat, hold_until, turn_serial = marks.tat_us, marks.hold_until_us, marks.turn_serial
local newest, led_us, resumed_us = marks.term, marks.led_us, marks.resumed_us
local waiting = redis.call('ZCARD', wait_key)
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
local heard_first = redis.call('ZRANGE', seen_key, 0, 0, 'WITHSCORES')
redis.call('ZCARD', offered_key)
-- include: leader
-- include: allowance

-- What the eta rests on. Each figure fades as newer ones of its kind come in, and stands while none do: admissions and
-- time under demand (a visitor waits and may be admitted). The visitor-seconds inside, and how many places ended, ended
-- early, or were never claimed in them. The visitor-seconds in the queue, and how many went out of it without a turn,
-- less those that came back.
local function pace(admitted, left_waiting)
  local step = math.min(math.max(now - (marks.pace_at_us > 0 and marks.pace_at_us or now), 0), 5000000)
  local written = {'pace_at_us', int(now)}
  local function keep(field, value) written[#written + 1], written[#written + 2] = field, string.format('%.6f', value) end
  local function faded(share, seconds)
    local by = math.exp(-step * share / (seconds * 1000000))
    return function(field, more) keep(field, marks[field] * by + more) end
  end

  local demand = waiting > 0 and set.state ~= 'paused' and set.state ~= 'closed' and now >= hold_until
  local add = faded(demand and 1 or 0, 60)
  add('pace_admitted', demand and admitted or 0)
  -- Without waiting visitors the leader comes by more rarely: a visitor that waits now has not waited for all the step.
  add('pace_us', demand and math.min(step, (marks.pace_last_waiting > 0) and step or late_us) or 0)

  -- Sessions tell of themselves as slowly as they last.
  local memory = math.min(math.max(set.session_seconds, 60), 600)
  local came, over = marks.admitted - marks.pace_last_admitted, marks.finished - marks.pace_last_finished
  local no_show, gone = marks.no_show - marks.pace_last_no_show, marks.entered - marks.admitted - waiting
  if not found[#found] then over, no_show, marks.pace_last_gone = 0, 0, gone end
  local ended = math.max(marks.pace_last_inside + came - occupancy, 0)
  add = faded((set.capacity > 0) and math.min(occupancy / set.capacity, 1) or 1, memory)
  add('pace_stay_us', (marks.pace_last_inside + occupancy) / 2 * step)
  add('pace_ended', ended)
  add('pace_early', ended - over - no_show)
  add('pace_no_show', no_show)

  add = faded(waiting > 0 and 1 or 0, memory)
  add('pace_wait_us', waiting * step)
  add('pace_gone', gone - marks.pace_last_gone)

  keep('pace_last_admitted', marks.admitted + admitted)
  keep('pace_last_inside', occupancy + admitted)
  keep('pace_last_finished', marks.finished)
  keep('pace_last_no_show', marks.no_show)
  keep('pace_last_waiting', left_waiting)
  keep('pace_last_gone', gone)
  return written
end

local places = allowance(math.min(most, waiting))
local offers, serials, ids, silent = {}, {}, {}, 0
if places > 0 then
  local head, heard = redis.call('ZRANGE', wait_key, 0, places - 1, 'WITHSCORES'), {}
  for i = 1, #head, 2 do ids[#ids + 1] = head[i] end
  local deadline = int(now + set.claim_seconds * 1000000)
  -- Mostly the longest silence of all is short, and the others' need not be looked up.
  if not heard_first[2] or tonumber(heard_first[2]) < quiet_since then
    heard = redis.call('ZMSCORE', seen_key, unpack(ids))
  end
  for i, visitor in ipairs(ids) do
    -- A silent visitor gets no offer that another could use. The ticket brings a silent visitor back.
    if #heard > 0 and tonumber(heard[i] or 0) < quiet_since then
      silent = silent + 1
    else
      offers[#offers + 1], offers[#offers + 2] = deadline, visitor
      serials[#serials + 1] = tonumber(head[i * 2])
    end
  end
end
local measured = pace(#serials, waiting - #ids)
if #serials > 0 then
  -- Into the new sets first, then out of the old: a visitor is never in neither.
  redis.call('ZADD', active_key, unpack(offers))
  redis.call('ZADD', offered_key, unpack(offers))
end
if #ids > 0 then
  redis.call('ZREMRANGEBYRANK', wait_key, 0, #ids - 1)
  redis.call('ZREM', seen_key, unpack(ids))
end
if #serials > 0 then
  turn_serial = math.max(turn_serial, serials[#serials])
  redis.call('HSET', state_key, 'tat_us', int(tat_after(#serials)), 'turn_serial', int(turn_serial), 'turn_us', int(now))
  redis.call('HINCRBY', state_key, 'admitted', #serials)
end
if silent > 0 then redis.call('HINCRBY', state_key, 'abandoned', silent) end
redis.call('HSET', state_key, unpack(measured))
note_round()

occupancy, waiting = occupancy + #serials, waiting - #ids
tat = tat_after(#serials)
local more = waiting > 0 and (silent > 0 or #serials == most) and allowance(1)
local reply = {'ok', now, waiting, occupancy, (more == 1) and 1 or 0}
for _, serial in ipairs(serials) do reply[#reply + 1] = serial end
return reply
