#!lua flags=no-writes
-- read: the whole of a room at one instant: settings, counts, marks, and the visitors revoked since the last reading.
-- KEYS: config state wait active offered revoked
-- ARGV: since_us
--   since_us   revocations from this time on are listed, at most 5,000, oldest first
-- Replies: ok missing
--   ok now_us waiting occupancy offered {config field value}... {state field value}... {visitor revoked_us}... {expires_us}... {rank serial}...
--     five nested lists. The fourth holds up to 17 evenly spaced expiries of the active set, first to last. The fifth
--     is the ladder: up to 32 ranks of the wait queue, with first and last, each about as many times the one before,
--     with the serials that stand there
--   missing            no such room
-- Cost: O(fields + log(active) + log(waiting))
local config_key, state_key, wait_key, active_key, offered_key, revoked_key = unpack(KEYS)

-- include: clock

local config = redis.call('HGETALL', config_key)
if #config == 0 then return {'missing'} end
local occupancy = redis.call('ZCOUNT', active_key, '(' .. int(now), '+inf')
local size, ends = redis.call('ZCARD', active_key), {}
for step = 0, (occupancy > 0) and 16 or -1 do
  local at = size - occupancy + math.floor(step * (occupancy - 1) / 16 + 0.5)
  ends[#ends + 1] = tonumber(redis.call('ZRANGE', active_key, at, at, 'WITHSCORES')[2])
end
local waiting, rank, ladder = redis.call('ZCARD', wait_key), 0, {}
for step = 0, 31 do
  rank = math.max(rank + 1, math.floor(waiting ^ (step / 31) + 0.5))
  if rank > waiting then break end
  local serial = redis.call('ZRANGE', wait_key, rank - 1, rank - 1, 'WITHSCORES')[2]
  ladder[#ladder + 1], ladder[#ladder + 2] = rank, tonumber(serial)
end
return {'ok', now, waiting, occupancy, redis.call('ZCARD', offered_key), config,
  redis.call('HGETALL', state_key),
  redis.call('ZRANGE', revoked_key, ARGV[1], '+inf', 'BYSCORE', 'LIMIT', 0, 5000, 'WITHSCORES'), ends, ladder}
