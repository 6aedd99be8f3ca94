-- queueing: arrivals that are not admitted at once wait, as long as there is room in the queue.
-- Needs: now int set last waiting free drawn draw offer wait_at wait_key seen_key bump answer
-- Gives: full without_room place note_places
local arrivals, heard, at, heard_at = {}, {}, 1, int(now)
local function full(i)
  bump('refused_full')
  answer(i, 'full', 0, 0)
end

-- A visitor that comes back to their place.
local function without_room(i, visitor, serial)
  last = math.max(last, drawn(serial))
  if waiting >= set.max_waiting then return full(i) end
  answer(i, 'waiting', serial, wait_at(visitor, serial))
  bump('restored')
end

-- A new place: inside where there is room, else at the end of the queue.
local function place(i, visitor)
  if free > 0 then return offer(i, visitor, draw()) end
  if waiting >= set.max_waiting then return full(i) end
  local serial = draw()
  waiting = waiting + 1
  arrivals[at], arrivals[at + 1] = int(serial), visitor
  heard[at], heard[at + 1] = heard_at, visitor
  at = at + 2
  answer(i, 'waiting', serial, waiting)
end

local function note_places()
  if at == 1 then return end
  redis.call('ZADD', seen_key, unpack(heard))
  redis.call('ZADD', wait_key, unpack(arrivals))
end
