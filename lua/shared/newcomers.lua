-- newcomers: every fresh id gets an answer, by `arrive` unless the id has a place already.
-- Needs: set stride fresh wait_key active_key bump answer arrive (the script's own)
-- Gives: nothing
-- A fresh id that already has a place is this same call carried out twice: the place stands.
local ids, held, inside = {}, {}, {}
for k, i in ipairs(fresh) do ids[k] = ARGV[(i - 1) * stride + 1] end
if #fresh > 0 then
  held, inside = redis.call('ZMSCORE', wait_key, unpack(ids)), redis.call('ZMSCORE', active_key, unpack(ids))
end
for k, i in ipairs(fresh) do
  local visitor = ids[k]
  if held[k] then
    answer(i, 'waiting', tonumber(held[k]), redis.call('ZRANK', wait_key, visitor) + 1)
  elseif inside[k] then
    answer(i, 'offered', 0, tonumber(inside[k]))
  elseif set.state == 'closed' then
    bump('refused_closed')
    answer(i, 'closed', 0, 0)
  else
    arrive(i, visitor)
  end
end
