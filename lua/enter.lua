#!lua
-- enter: give each arrival a place: the one it holds, the one its ticket proves, a new one, or none.
-- KEYS: config state wait seen active offered used
-- ARGV: {fresh visitor serial issued_us}...
--   fresh      the id to use when the visitor brings no good ticket
--   visitor    the id its ticket names, or empty. serial and issued_us come from the ticket, or are 0
-- Replies: ok missing broken
--   ok now_us {standing a b}...
--     waiting serial rank | offered serial expires_us | admitted serial expires_us | full 0 0 | closed 0 0
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
-- include: wait_at
-- include: queueing
-- include: returning

local arrive = place
-- include: newcomers

note_places()
-- include: noted
