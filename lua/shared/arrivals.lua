-- arrivals: reads the room and all arguments, `stride` for each arrival, before anything is written.
-- Needs: now int settings marks_of stride wait_key seen_key active_key offered_key used_key
-- Gives: set last tat hold_until turn_serial spent_serial spent_us waiting occupancy visitors fresh returners serials
-- Gives: issues reply answer entered draw
local set, fault = settings({'capacity', 'admit_per_second', 'session_seconds', 'claim_seconds',
  'ticket_seconds', 'tickets_after_us', 'max_waiting'})
if not set then return fault end
local last, tat, hold_until, turn_serial, spent_serial, spent_us =
  marks_of('last', 'tat_us', 'hold_until_us', 'turn_serial', 'spent_serial', 'spent_us')
local waiting = redis.call('ZCARD', wait_key)
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
-- Reading every other set once makes a key of the wrong type stop the call before it writes.
redis.call('ZCARD', seen_key) redis.call('ZCARD', offered_key) redis.call('ZCARD', used_key)

-- Most visitors bring no ticket.
local visitors, fresh, returners, serials, issues = #ARGV / stride, {}, {}, {}, {}
for i = 1, visitors do
  local at = (i - 1) * stride + 1
  if ARGV[at + 1] == '' then
    fresh[#fresh + 1] = i
  else
    local serial, issued, k = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), #returners + 1
    if not serial or not issued then return {'broken', 'argument'} end
    returners[k], serials[k], issues[k] = i, serial, issued
  end
end

local reply, entered = {'ok', now}, 0
local function answer(i, standing, a, b)
  reply[i * 3], reply[i * 3 + 1], reply[i * 3 + 2] = standing, a, b
end

-- The serial of a new place.
local function draw()
  last, entered = last < now and now or last + 1, entered + 1
  return last
end
