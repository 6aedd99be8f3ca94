-- inside: until when a visitor is inside. They are heard by this. Nothing where they are not, or their place is over.
-- Needs: now active_key claim retire
-- Gives: inside_until
local function inside_until(visitor)
  local expires = tonumber(redis.call('ZSCORE', active_key, visitor) or 0)
  if expires > now then return claim(visitor, expires) end
  if expires > 0 then retire(visitor) end
end
