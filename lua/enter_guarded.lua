#!lua
-- enter_guarded: give each arrival a place by its ticket, by what it proved, or by what its address and network have left.
-- KEYS: config state wait seen active offered used revoked sources
-- ARGV: {fresh visitor serial issued_us keyed priority address network}...
--   fresh      the id to use when the visitor brings no good ticket
--   visitor    the id its ticket names, or empty. serial and issued_us come from the ticket, or are 0
--   keyed      1: `fresh` is made of what its holder proved and has one place and one turn, however often it comes. Else 0
--   priority   1: a new place is in front of all that have none, else 0
--   address    its places are counted, and likewise network. Empty: not counted
-- Replies: ok missing broken
--   ok now_us {standing a b}...
--     waiting serial rank | offered serial expires_us | admitted serial expires_us | full 0 0 | closed 0 0 | used 0 0
--     | limited 0 again_us
--     (a serial other than the ticket's is a new one and belongs to `fresh`. 0: `fresh` is inside by a call before.
--     used: a keyed id had its turn. limited: the address or network may take its next place at again_us)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key, revoked_key, sources_key = unpack(KEYS)

local stride = 8
local function argument(i, which) return ARGV[(i - 1) * stride + which] end
-- include: clock
-- include: settings
-- include: marks
-- include: counts
-- include: arrivals
-- include: allowance
-- include: claim
-- include: retire
-- include: inside
-- include: restorable
-- include: offer
-- include: wait_at
-- include: queueing

for at = 1, #ARGV, stride do
  local keyed, priority = ARGV[at + 4], ARGV[at + 5]
  if keyed ~= '0' and keyed ~= '1' then return {'broken', 'keyed'} end
  if priority ~= '0' and priority ~= '1' then return {'broken', 'priority'} end
end
local limits = redis.call('HMGET', config_key, 'places_per_address', 'places_per_network')
local most_of = {[7] = tonumber(limits[1]) or 0, [8] = tonumber(limits[2]) or 0}
redis.call('ZCARD', revoked_key) redis.call('ZCARD', sources_key)

-- include: returning

-- A visitor that comes by what they proved, and not for the first time. True where they have an answer.
local function known(i, visitor)
  if has_place(i, visitor) then return true end
  if not redis.call('ZSCORE', used_key, visitor) and not redis.call('ZSCORE', revoked_key, visitor) then return false end
  answer(i, 'used', 0, 0)
  return true
end

-- Arrivals with an id that has no place yet stay, the priority lane first. An id that stands twice in this call is
-- answered once, and that holds for both.
local first, others, by_id, twins = {}, {}, {}, {}
for _, i in ipairs(fresh) do
  local visitor = argument(i, 1)
  if by_id[visitor] then
    twins[#twins + 1] = {i, by_id[visitor]}
  else
    by_id[visitor] = i
    if not (argument(i, 5) == '1' and known(i, visitor)) then
      local lane = argument(i, 6) == '1' and first or others
      lane[#lane + 1] = i
    end
  end
end
for _, i in ipairs(others) do first[#first + 1] = i end
fresh = first

-- The places of one source, an address or a network, are a generic cell rate too: so many at once, and as many again
-- over ticket_seconds. True where the visitor has an answer, for a source of theirs has taken its places.
local function limited(i)
  local again, due = 0, {}
  for which = 7, 8 do
    local source, most = argument(i, which), most_of[which]
    if source ~= '' and most > 0 then
      local interval = set.ticket_seconds * 1000000 / most
      local score = tonumber(redis.call('ZSCORE', sources_key, source) or 0)
      -- One farther ahead than this limit can have set comes from another one, or from before the clock was set back.
      local level = score > now + most * interval + 1 and now or math.max(now, score)
      again = math.max(again, level - (most - 1) * interval)
      due[#due + 1], due[#due + 2] = int(level + interval), source
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

local function arrive(i, visitor)
  if free <= 0 and waiting >= set.max_waiting then return full(i) end
  if limited(i) then return end
  if argument(i, 6) == '0' then return place(i, visitor) end
  local serial = draw() - lane_us
  if free > 0 then return offer(i, visitor, serial) end
  answer(i, 'waiting', serial, wait_at(visitor, serial))
end
-- include: newcomers

for _, twin in ipairs(twins) do
  local i, other = twin[1] * 3, twin[2] * 3
  reply[i], reply[i + 1], reply[i + 2] = reply[other], reply[other + 1], reply[other + 2]
end
note_places()
-- include: noted
