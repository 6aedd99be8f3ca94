-- restorable: a ticket gives back its place unless it is too old, its turn is used, or it was issued before the room's
-- data were lost for a serial that had its turn by then.
-- Needs: now set spent_serial spent_us used_key
-- Gives: oldest_ticket lane_us drawn restorable
-- Serials of the priority lane are drawn like all others, and stand lane_us lower: in front of all that waited in the
-- last 47 years.
local oldest_ticket = math.max(now - set.ticket_seconds * 1000000, set.tickets_after_us)
local lane_us = 1500000000000000
local function drawn(serial) return serial < lane_us and serial + lane_us or serial end
local function restorable(visitor, serial, issued)
  return serial > 0 and issued >= oldest_ticket and not redis.call('ZSCORE', used_key, visitor)
    and not (drawn(serial) <= spent_serial and issued <= spent_us)
end
