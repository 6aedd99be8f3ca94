-- returning: visitors who bring a ticket come first, for their serials are older. Those to whom it gives nothing back
-- are among the fresh then.
-- Needs: now int wait_key seen_key inside_until oldest_ticket restorable drawn free offer last fresh returners bump answer without_room
-- Gives: has_place
-- True where the visitor has a place, and so an answer. The serial is that of the ticket; nothing where there is none.
local function has_place(i, visitor, serial)
  local rank = redis.call('ZRANK', wait_key, visitor)
  if rank then
    redis.call('ZADD', seen_key, int(now), visitor)
    answer(i, 'waiting', serial or tonumber(redis.call('ZSCORE', wait_key, visitor)), rank + 1)
    return true
  end
  local expires = inside_until(visitor)
  if not expires then return false end
  answer(i, 'admitted', serial or 0, expires)
  return true
end

-- True where the ticket gives the visitor an answer.
local function returning(i, visitor, serial, issued)
  if has_place(i, visitor, serial) then return true end
  if not restorable(visitor, serial, issued) then return false end
  if free > 0 then
    last = math.max(last, drawn(serial))
    offer(i, visitor, serial)
    bump('restored')
  else
    without_room(i, visitor, serial)
  end
  return true
end

local without_tickets = #fresh
for _, one in ipairs(returners) do
  local i, visitor, serial, issued = unpack(one)
  if issued < oldest_ticket or not returning(i, visitor, serial, issued) then fresh[#fresh + 1] = i end
end
if #fresh > without_tickets then table.sort(fresh) end
