-- marks: reads counts and marks of the room, 0 where there are none; and the same as Redis holds them, in order.
-- Needs: state_key
-- Gives: marks_of
local function marks_of(fields)
  local marks, found = {}, redis.call('HMGET', state_key, unpack(fields))
  for i, field in ipairs(fields) do marks[field] = tonumber(found[i]) or 0 end
  return marks, found
end
