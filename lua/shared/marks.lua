-- marks: reads counts and marks of the room, as numbers in the order asked for, 0 where there are none.
-- Needs: state_key
-- Gives: marks_of
local function marks_of(...)
  local found = redis.call('HMGET', state_key, ...)
  for i = 1, #found do found[i] = tonumber(found[i]) or 0 end
  return unpack(found)
end
