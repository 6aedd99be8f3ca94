-- counts: what the call adds to the counts of the room. note_counts writes it down.
-- Needs: state_key
-- Gives: count bump note_counts
local count = {}
local function bump(field, by) count[field] = (count[field] or 0) + (by or 1) end
local function note_counts()
  for field, by in pairs(count) do redis.call('HINCRBY', state_key, field, by) end
end
