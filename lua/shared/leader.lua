-- leader: no instance acts under an older term than the room has seen. Which visitors a leader takes for silent.
-- Needs: now int state_key set newest (the term) led_us resumed_us
-- Gives: term most quiet_since note_round
local term, most = tonumber(ARGV[1]), math.min(tonumber(ARGV[2]), 500)
if term < newest then return {'stale', newest} end
-- A visitor last heard before `quiet_since` is silent. While no leader came by, in an outage, no visitor could be
-- heard. After it all visitors with good tickets have abandon_seconds to be heard again, but no more than 75 s: by then
-- clients that backed off and hidden tabs, which wake once a minute, have asked. A clock that is set back begins anew.
local gap_us = math.min(math.max(set.abandon_seconds / 12, 2), 5) * 1000000
local while_us = math.min(set.abandon_seconds, 75) * 1000000
local unattended = led_us > 0 and now - led_us > gap_us
local believing = unattended or math.max(now, led_us) - resumed_us < while_us
local quiet_since = now - (believing and set.ticket_seconds or set.abandon_seconds) * 1000000
local function note_round()
  if unattended or now < led_us then resumed_us = believing and now or 0 end
  redis.call('HSET', state_key, 'term', int(term), 'led_us', int(now), 'resumed_us', int(resumed_us))
end
