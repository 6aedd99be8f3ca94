#!lua flags=allow-oom
-- lease: acquire, renew or resign the leadership of the schedulers.
-- KEYS: lease
-- ARGV: action owner ttl_us above
--   action     hold (acquire when free, renew when it is mine) or resign
--   above      the newest term that the caller has seen acting, else 0: a lease of mine under an older one is over
-- Replies: acquired renewed held resigned broken
--   acquired term      it was free: mine from now on, under a new term
--   renewed term       it was mine: the same term, for another ttl
--   held term          another instance holds it
--   resigned term      it is free now (or was not mine)
--   broken field       there is no such action
-- Cost: O(1)
local lease_key = unpack(KEYS)

-- include: clock

local action, owner, ttl, above = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if action ~= 'hold' and action ~= 'resign' then return {'broken', 'action'} end
local held = redis.call('HMGET', lease_key, 'owner', 'until_us', 'term', 'ttl_us')
local term, until_us, held_ttl = tonumber(held[3]) or 0, tonumber(held[2]) or 0, tonumber(held[4]) or 0
-- A lease that ends later than it can have been given for dates from before the clock was set back.
local alive = until_us > now and until_us - now <= held_ttl
local mine = held[1] == owner

if action == 'resign' then
  if mine then redis.call('HSET', lease_key, 'until_us', '0') end
  return {'resigned', term}
end
if alive and not mine then return {'held', term} end
local outcome = 'renewed'
if not alive or term < above then
  -- Terms grow with the clock, so that they go on growing when the lease itself is lost.
  outcome, term = 'acquired', math.max(term + 1, above + 1, math.floor(now / 1000))
end
redis.call('HSET', lease_key, 'owner', owner, 'until_us', int(now + ttl), 'term', int(term), 'ttl_us', int(ttl))
return {outcome, term}
