#!lua
-- configure: create a room or change its settings, if it is still at the version the caller saw.
-- KEYS: config state
-- ARGV: expected last spent_serial spent_us known hold_us {field value}...
--   expected      version the room must have. 0: must not exist. *: any
--   last          serials given out so far, at least (kept by instances across a loss of data, else 0)
--   spent_serial  with spent_us: tickets up to this serial, issued up to this time, had their turn before a loss, else 0
--   known         the version that the room had before a loss, so that versions go on from there, else 0
--   hold_us       after a loss: how long to admit no visitor, so that visitors come back in order, else 0
--   field value   settings to write. None: only raise the marks
-- Replies: ok conflict missing broken
--   ok version
--   conflict version   the room has another version (0: does not exist)
--   missing            no such room, and no full settings to make one
--   broken field       a value is not of its kind
-- Cost: O(fields)
local config_key, state_key = unpack(KEYS)

-- include: clock
-- include: marks

local numeric = {'capacity', 'admit_per_second', 'session_seconds', 'sliding', 'claim_seconds', 'abandon_seconds',
  'ticket_seconds', 'max_waiting'}
local given = {}
for i = 7, #ARGV, 2 do given[ARGV[i]] = ARGV[i + 1] end
for _, field in ipairs(numeric) do
  local n = tonumber(given[field] or 0)
  if not (n and n >= 0 and n < 2 ^ 53) then return {'broken', field} end
end
for i = 2, 6 do
  if not tonumber(ARGV[i]) then return {'broken', 'argument'} end
end

local stored = redis.call('HMGET', config_key, 'version', 'ticket_seconds', 'tickets_after_us', 'longest_session_seconds', 'set_us')
if stored[1] and not tonumber(stored[1]) then return {'broken', 'version'} end
local version = tonumber(stored[1]) or 0
local last, spent_serial, spent_us, turn_serial, turn_us, hold_until =
  marks_of('last', 'spent_serial', 'spent_us', 'turn_serial', 'turn_us', 'hold_until_us')
local expected = ARGV[1]
if expected ~= '*' and tonumber(expected) ~= version then return {'conflict', version} end
if version == 0 then
  for _, field in ipairs(numeric) do
    if not given[field] then return {'missing'} end
  end
  if not given.state then return {'missing'} end
end

-- Settings for a known version with a hold are given back: the instance that made the room after a loss knew nothing.
local raised = version == 0 or (expected ~= '*' and #ARGV > 6)
local function raise(field, stored_value, value)
  if value <= stored_value then return end
  redis.call('HSET', state_key, field, int(value))
  raised = true
end
raise('last', last, tonumber(ARGV[2]))
raise('spent_serial', spent_serial, tonumber(ARGV[3]))
raise('spent_us', spent_us, tonumber(ARGV[4]))
raise('turn_serial', turn_serial, tonumber(ARGV[3]))
raise('turn_us', turn_us, tonumber(ARGV[4]))
-- An instance knew more than the room: its data were lost, or the last of them. lost_us tells all instances.
hold_until = math.max(hold_until, now + tonumber(ARGV[6]))
if raised and tonumber(ARGV[6]) > 0 then
  redis.call('HSET', state_key, 'hold_until_us', int(hold_until), 'lost_us', int(now))
end
if #ARGV == 6 then return {'ok', version} end

-- Marks of used turns were swept by the old ticket_seconds: tickets that had died by it must not live again.
local tickets_after = math.max(tonumber(stored[3]) or 0, tonumber(given.tickets_after_us) or 0)
local old_ticket = tonumber(stored[2])
if old_ticket and given.ticket_seconds and tonumber(given.ticket_seconds) > old_ticket then
  tickets_after = math.max(tickets_after, math.floor(now - old_ticket * 1000000))
end
-- Revocations are kept as long as the longest pass ever given could live.
local longest = math.max(tonumber(stored[4]) or 0, tonumber(given.session_seconds or 0), tonumber(given.claim_seconds or 0))
for field, value in pairs(given) do redis.call('HSET', config_key, field, value) end
if version == 0 then redis.call('HSET', config_key, 'made_us', int(now)) end
local again = tonumber(ARGV[6]) > 0
local next_version = math.max(version, tonumber(ARGV[5])) + 1
-- An instance that makes a lost room again may have missed changes: no version of the lost room fits the new one.
if version == 0 and again then next_version = next_version + 1000 end
-- When settings were last decided, so that of several instances that give them back the one with the latest wins. And
-- which version was given back, for what was decided since stands.
if again then
  redis.call('HSET', config_key, 'made_version', next_version)
elseif not given.sown then
  redis.call('HSET', config_key, 'set_us', int(math.max(now, (tonumber(stored[5]) or 0) + 1)))
end
redis.call('HSET', config_key, 'version', next_version, 'schema', '1', 'tickets_after_us', int(tickets_after),
  'longest_session_seconds', string.format('%.6f', longest))
return {'ok', next_version}
