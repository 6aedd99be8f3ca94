#!lua
-- pass_through: admit each arrival at once where there is room (the gate asks). No visitor joins the queue by this.
-- KEYS: config state wait seen active offered used
-- ARGV: {fresh visitor serial issued_us}...
--   fresh      the id to use when the visitor brings no good ticket
--   visitor    the id its ticket names, or empty. serial and issued_us come from the ticket, or are 0
-- Replies: ok missing broken
--   ok now_us {standing a b}...
--     waiting serial rank | offered serial expires_us | admitted serial expires_us | closed 0 0 | must_wait 0 0
--     (a serial other than the ticket's is a new one and belongs to `fresh`. 0: `fresh` is inside by a call before)
--   missing            no such room
--   broken field       the room's settings, or the call's arguments, cannot be read
-- Cost: O(n log(waiting)), n visitors
local config_key, state_key, wait_key, seen_key, active_key, offered_key, used_key = unpack(KEYS)

local stride = 4
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

local function without_room(i) answer(i, 'must_wait', 0, 0) end
-- include: returning

local function arrive(i, visitor)
  if free > 0 then offer(i, visitor, draw()) else answer(i, 'must_wait', 0, 0) end
end
-- include: newcomers

-- include: noted
