-- offer: how many of these arrivals are admitted at once, and what happens to an admitted one.
-- Needs: now int set waiting visitors allowance turn_serial drawn active_key offered_key bump answer
-- Gives: free offer
local free = waiting == 0 and allowance(visitors) or 0
local offered_until = math.floor(now + set.claim_seconds * 1000000)
local offered_text = int(offered_until)
local function offer(i, visitor, serial)
  redis.call('ZADD', active_key, offered_text, visitor)
  redis.call('ZADD', offered_key, offered_text, visitor)
  free = free - 1
  -- No visitor waits: every visitor with a lower number, in either lane, had their turn or went silent.
  turn_serial = math.max(turn_serial, drawn(serial))
  bump('admitted')
  answer(i, 'offered', serial, offered_until)
end
