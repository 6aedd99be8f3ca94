-- returning: visitors that bring a ticket come first, for their serials are older. Visitors that get nothing back for it
-- are among the fresh then.
-- Needs: now int wait_key seen_key inside_until oldest_ticket restorable drawn free offer last bump answer
-- Needs: stride fresh returners serials issues without_room (the script's own)
-- Gives: has_place
-- True where the visitor has a place, and so an answer. The serial is that of the ticket, nothing where there is none.
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

-- The same of one without a place that the ticket gives a place back.
local function returning(i, visitor, serial, issued)
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
for k, i in ipairs(returners) do
  local visitor, serial, issued = ARGV[(i - 1) * stride + 2], serials[k], issues[k]
  if issued < oldest_ticket or not (has_place(i, visitor, serial) or returning(i, visitor, serial, issued)) then
    fresh[#fresh + 1] = i
  end
end
if #fresh > without_tickets then table.sort(fresh) end
