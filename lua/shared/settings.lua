-- settings: reads settings of the room, numbers all but its state. Nothing and a reply where they cannot be read.
-- Needs: config_key
-- Gives: settings
local function settings(names)
  local values, found = redis.call('HMGET', config_key, 'state', unpack(names)), {}
  if not values[1] then return nil, {'missing'} end
  for i = 1, #names do
    local name, value = names[i], tonumber(values[i + 1])
    if not value then return nil, {'broken', name} end
    found[name] = value
  end
  found.state = values[1]
  return found
end
