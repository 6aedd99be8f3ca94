-- retire: a place inside is over. A no-show's ticket still holds. Of others the turn is used.
-- Needs: now int active_key offered_key used_key bump
-- Gives: retire
local function retire(visitor)
  if redis.call('ZSCORE', offered_key, visitor) then
    bump('no_show')
  else
    redis.call('ZADD', used_key, int(now), visitor)
    bump('finished')
  end
  redis.call('ZREM', active_key, visitor)
  redis.call('ZREM', offered_key, visitor)
end
